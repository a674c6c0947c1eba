import { adamW, mapElementWise, type AdamState } from '@atelier/nn';
import { checkNumber, flattenTree, stopGradient, tf, treeMap, valueAndGrad, type Tensor, type Tree } from '@atelier/tensor';
import { discriminatorLoss, generatorAdversarialLoss, type AdversarialOptions, type Critic } from './adversarial.ts';
import { fewStepChain } from './chain.ts';
import { parseMatching, type MatchingOptions } from './config.ts';
import { checkGuidance, dropCondition, type Condition, type GuidanceScales, type SidNetwork } from './guidance.ts';
import { fakeScoreLoss, generatorLoss, masked, withoutNaN, type GeneratorLoss } from './objective.ts';
import { addNoise, type Parameterization } from './parameterization.ts';

/** The one architecture of teacher, fake score and generator: parameters, and the dropout of the network that is being trained -> network. */
export type NetworkOf<P extends Tree> = (params: P, dropout?: Tree) => SidNetwork;
/** The discriminator that is read off the fake score's features. */
export type CriticOf<P extends Tree> = (params: P, dropout?: Tree) => Critic;

export type Recipe = {
  parameterization: Parameterization;
  /** K, how many steps the generator takes. */
  steps: number;
  guidance: GuidanceScales;
  matching?: MatchingOptions;
  /** Factor of the fake score's loss, 1 if absent. */
  fakeScale?: number;
  /**
   * `uniform` (the paper's): an iteration trains the k-th output for one k drawn for the whole batch and both updates, and a gradient goes through the k-th
   * call alone. `final`: always the last output; `final-whole`: the same with a gradient through all K calls (SiD-LSG's code).
   */
  stepMatching?: 'uniform' | 'final' | 'final-whole';
  /** ε of Adam, 10⁻⁸ if absent. β is (0, 0.999) as published. */
  adamEps?: number;
  /** Gradient values are clipped to ± this. With the adversarial term the fake score's are clipped to ±1 whatever is said here. */
  valueClip?: number;
  /** Absent: nothing but the teacher is asked, and no data can be handed in. */
  adversarial?: undefined;
};
export type AdversarialRecipe = Omit<Recipe, 'adversarial'> & { adversarial: AdversarialOptions };

/** Parameters with the state of their optimizer; the generator's with its average. */
export type FakeState<P extends Tree> = { params: P; adam: AdamState };
export type GeneratorState<P extends Tree> = { params: P; average: P; adam: AdamState };

/** Random numbers and settings of one update. All tensors; conditions and dropout where the network takes them. */
export type UpdateDraws = {
  /** Fresh noise for each of the k steps that this iteration takes. */
  noises: Tensor[];
  /** ε [B, …] and times [B]. */
  e: Tensor;
  t: Tensor;
  condition?: Condition;
  /** Conditions that are dropped before generating, [B] bool; the published code does so in one of ten for the fake score if κ1 or κ2 is not 1. */
  dropped?: Tensor;
  dropout?: Tree;
  /** Learning rate, a scalar. */
  rate: Tensor;
};
/** A distillation without the adversarial term has no place for data. */
export type DataFree = { real?: never };
/** Real images [B, …], which take the noise and times of the generated ones. Conditions are shared. */
export type WithData = { real: Tensor };
/** Decay β of the average (`emaBeta`), and with the adversarial term the factors of both losses (`adversarialPhase`), scalars. */
export type GeneratorDraws = UpdateDraws & { beta: Tensor };
export type Weights = { matchingShare: Tensor; adversarialShare: Tensor };

export type FakeMetrics = { loss: Tensor; critic: Tensor; kept: Tensor };
export type GeneratorMetrics = {
  /** The matching loss and the adversarial one, before their shares. */
  loss: Tensor;
  adversarial: Tensor;
  /** mean ‖Δ‖²·weight: falls as the generator comes nearer. Watch it and `spread`, not the loss. */
  divergence: Tensor;
  /** Standard deviation of the generated values over that of the teacher's clean images: grows without bound where training runs away. */
  spread: Tensor;
  kept: Tensor;
};

export type Distillation<P extends Tree, FakeExtra, GeneratorExtra> = {
  /** K noise levels. */
  readonly levels: readonly number[];
  /** All three from the teacher, or the generator from parameters of its own. @throws Error if their shapes differ */
  init(teacher: P, generator?: P): { fake: FakeState<P>; generator: GeneratorState<P> };
  /** How many steps iteration `i` takes, for both of its updates: from a uniform number u in [0, 1). */
  stepsOf(u: number): number;
  /** First: the fake score is fitted to samples of the generator as it is. */
  fakeUpdate(fake: FakeState<P>, generator: P, draws: UpdateDraws & FakeExtra): { state: FakeState<P>; metrics: FakeMetrics };
  /** Then: the generator is moved so that teacher and fake score agree on its samples. New draws. */
  generatorUpdate(
    generator: GeneratorState<P>,
    nets: { teacher: P; fake: P },
    draws: GeneratorDraws & GeneratorExtra,
  ): { state: GeneratorState<P>; metrics: GeneratorMetrics };
};

/** Nothing but the teacher: SiD. */
export function distillation<P extends Tree>(network: NetworkOf<P>, recipe: Recipe): Distillation<P, DataFree, unknown>;
/** With an adversarial loss against data: SiDA. */
export function distillation<P extends Tree>(
  network: NetworkOf<P>,
  recipe: AdversarialRecipe,
  critic: CriticOf<P>,
): Distillation<P, WithData, Weights>;
/**
 * The two updates of Score identity Distillation as pure functions, to be compiled: one graph each for every number of steps. Each changes its own network
 * alone. Gradients that are NaN become 0, infinite ones ±10⁵.
 */
export function distillation<P extends Tree>(
  network: NetworkOf<P>,
  recipe: Recipe | AdversarialRecipe,
  critic?: CriticOf<P>,
): Distillation<P, { real?: Tensor }, Partial<Weights>> {
  const where = 'distillation';
  const { parameterization, guidance, adversarial, fakeScale = 1, stepMatching = 'uniform' } = recipe;
  const levels = parameterization.levels(recipe.steps);
  const matching = parseMatching(recipe.matching ?? {}, where);
  checkGuidance(guidance, where);
  if (adversarial !== undefined && critic === undefined)
    throw new Error(`${where}: critic: wanted the discriminator that the adversarial term needs, got none`);
  if (!['uniform', 'final', 'final-whole'].includes(stepMatching))
    throw new Error(`${where}: stepMatching: wanted 'uniform', 'final' or 'final-whole', got '${stepMatching}'`);
  const optimizer = adamW({ b1: 0, b2: 0.999, eps: recipe.adamEps ?? 1e-8 });
  const chain = (generator: SidNetwork, { noises, condition }: UpdateDraws): Tensor => {
    const gradient = stepMatching === 'final-whole' ? 'whole' : 'last';
    const options = { parameterization, levels, gradient, ...(condition && { condition }) } as const;
    return fewStepChain(generator, noises, options, noises.length).outputs.at(-1)!;
  };

  return {
    levels,
    init(teacher, generator = teacher) {
      checkSameShapes(teacher, generator, `${where}: init`);
      const copy = (tree: P): P => treeMap((leaf) => leaf.clone(), tree);
      return {
        fake: { params: copy(teacher), adam: optimizer.init(teacher) },
        generator: { params: copy(generator), average: copy(generator), adam: optimizer.init(generator) },
      };
    },
    stepsOf: (u) => (stepMatching === 'uniform' ? Math.min(levels.length, Math.floor(u * levels.length) + 1) : levels.length),
    fakeUpdate(fake, generator, draws) {
      checkData(draws.real, adversarial !== undefined, `${where}: fakeUpdate`);
      const condition = draws.dropped && draws.condition ? dropCondition(draws.condition, draws.dropped, draws.e) : draws.condition;
      const x = stopGradient(chain(network(generator), withCondition(draws, condition)));
      const { aux, grads } = valueAndGrad((params: P) => {
        const batch = { x, e: draws.e, t: draws.t, ...(condition && { condition }) };
        const fit = fakeScoreLoss(network(params, draws.dropout), batch, { parameterization, kappa: guidance.fit, scale: fakeScale });
        const kept = tf.mean(fit.kept);
        if (adversarial === undefined) return { loss: fit.loss, aux: { loss: fit.loss, critic: tf.scalar(0), kept } };
        const judge = (image: Tensor): Tensor =>
          criticAt(critic!(params, draws.dropout), addNoise(parameterization, image, draws.e, draws.t), draws.t, draws.condition);
        const { loss } = discriminatorLoss(
          { real: judge(draws.real!), fake: judge(masked(x, withoutNaN([x]))) },
          { t: draws.t, pixels: x.size / x.shape[0]!, kept: fit.kept },
          { ...adversarial, parameterization },
        );
        return { loss: tf.add(fit.loss, loss), aux: { loss: fit.loss, critic: loss, kept } };
      }, fake.params);
      const clip = adversarial === undefined ? recipe.valueClip : Math.min(1, recipe.valueClip ?? 1);
      const next = optimizer.update(cleanGradients(grads, clip), fake.adam, fake.params, draws.rate);
      return { state: { params: next.params, adam: next.state }, metrics: aux };
    },
    generatorUpdate(generator, nets, draws) {
      checkSameShapes(nets.teacher, generator.params, `${where}: generatorUpdate`);
      const { condition } = draws;
      const { aux, grads } = valueAndGrad((params: P) => {
        const x = chain(network(params, draws.dropout), draws);
        const batch = { x, e: draws.e, t: draws.t, ...(condition && { condition }) };
        const sid = generatorLoss({ teacher: network(nets.teacher), fake: network(nets.fake) }, batch, {
          ...matching,
          parameterization,
          guidance,
        });
        const metrics = {
          loss: sid.loss,
          adversarial: tf.scalar(0),
          divergence: sid.divergence,
          spread: spreadOf(x, sid),
          kept: tf.mean(sid.kept),
        };
        if (adversarial === undefined) return { loss: sid.loss, aux: metrics };
        const logits = criticAt(critic!(nets.fake), sid.noised, draws.t, condition);
        const gan = generatorAdversarialLoss(logits, { x, weight: sid.weight, kept: sid.kept }, adversarial);
        const loss = tf.add(tf.mul(sid.loss, draws.matchingShare!), tf.mul(gan.loss, draws.adversarialShare!));
        return { loss, aux: { ...metrics, adversarial: gan.loss } };
      }, generator.params);
      const next = optimizer.update(cleanGradients(grads, recipe.valueClip), generator.adam, generator.params, draws.rate);
      // With β = 0 this form gives exactly θ, which that of `emaUpdate` does not.
      const [average] = mapElementWise([next.params, generator.average], ([theta, old]) => [
        tf.add(theta!, tf.mul(tf.sub(old!, theta!), draws.beta)),
      ]);
      return { state: { params: next.params, average: average as P, adam: next.state }, metrics: aux };
    },
  };

  function criticAt(judge: Critic, x: Tensor, t: Tensor, condition?: Condition): Tensor {
    const input = parameterization.input(x, t);
    return judge(input.x, input.t, condition?.given);
  }
}

/**
 * Decay β of the generator's average for an update at which `images` have been seen before: 0.5^(batch/h) with the half-life h = min(halfLife, rampUp·images).
 * 0 at the first update, where the average becomes the generator. θ̄ ← θ + β(θ̄ - θ).
 */
export function emaBeta(images: number, batch: number, { halfLife, rampUp = 0.05 }: { halfLife: number; rampUp?: number }): number {
  checkNumber('emaBeta: images', images, { min: 0 });
  checkNumber('emaBeta: batch', batch, { min: 1 });
  checkNumber('emaBeta: halfLife', halfLife, { min: 0 });
  checkNumber('emaBeta: rampUp', rampUp, { min: 0 });
  return 0.5 ** (batch / Math.max(Math.min(halfLife, rampUp * images), 1e-8));
}

/**
 * What an adversarial distillation does after `images`: the generator stands still until `frozen`, follows the teacher alone until `combined`, then both losses
 * by halves. SiDA: 100,000 and 200,000; SiD-DiT: 20,000 and 40,000.
 */
export function adversarialPhase(
  images: number,
  { frozen, combined }: { frozen: number; combined: number },
): { train: boolean; matching: number; adversarial: number } {
  checkNumber('adversarialPhase: frozen', frozen, { min: 0 });
  checkNumber('adversarialPhase: combined', combined, { min: frozen });
  if (images < frozen) return { train: false, matching: 0, adversarial: 0 };
  return images < combined ? { train: true, matching: 1, adversarial: 0 } : { train: true, matching: 0.5, adversarial: 0.5 };
}

/** NaN becomes 0, ±∞ ±10⁵; then values are clipped to ± `clip` if there is one. */
export function cleanGradients<G extends Tree>(grads: G, clip?: number): G {
  if (clip !== undefined) checkNumber('cleanGradients: clip', clip, { above: 0 });
  const [clean] = mapElementWise([grads], ([g]) => {
    // 0 for NaN, as TensorFlow.js's sign is.
    const bound = tf.mul(tf.sign(g!), 1e5);
    const finite = tf.where(tf.less(tf.abs(g!), Infinity), g!, bound);
    return [clip === undefined ? finite : tf.clipByValue(finite, -clip, clip)];
  });
  return clean as G;
}

function spreadOf(x: Tensor, { teacher }: GeneratorLoss): Tensor {
  const std = (values: Tensor): Tensor => tf.sqrt(tf.moments(stopGradient(values)).variance);
  return tf.div(std(x), std(teacher));
}

function withCondition(draws: UpdateDraws, condition: Condition | undefined): UpdateDraws {
  return condition === undefined ? draws : { ...draws, condition };
}

function checkData(real: Tensor | undefined, wanted: boolean, where: string): void {
  if (wanted && real === undefined) throw new Error(`${where}: real: wanted data for the adversarial term, got none`);
  if (!wanted && real !== undefined) throw new Error(`${where}: real: wanted none, for the recipe has no adversarial term, got data`);
}

function checkSameShapes(teacher: Tree, generator: Tree, where: string): void {
  const [theirs, ours] = [flattenTree(teacher), flattenTree(generator)];
  const shape = (leaf: Tensor | undefined): string => (leaf === undefined ? 'nothing' : `[${leaf.shape.join(', ')}]`);
  for (const name of new Set([...Object.keys(theirs), ...Object.keys(ours)]))
    if (theirs[name]?.shape.join() !== ours[name]?.shape.join())
      throw new Error(`${where}: wanted a generator of the teacher's shapes, ${name}: ${shape(theirs[name])}, got ${shape(ours[name])}`);
}
