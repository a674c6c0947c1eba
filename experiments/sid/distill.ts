import { adamW } from '@atelier/nn';
import {
  distillation,
  emaBeta,
  fakeScoreLoss,
  sidSampler,
  type AdversarialOptions,
  type CriticOf,
  type FakeState,
  type GeneratorState,
  type GuidanceScales,
  type NetworkOf,
  type Parameterization,
  type UpdateDraws,
} from '@atelier/sid';
import { disposeTree, tf, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { inBatches, type Rows } from '../src/evaluation/in-batches.ts';
import type { Resumable, RunContext } from '../src/runner/experiment.ts';
import { schedulesOf, type Optimization } from '../src/training/optimization.ts';
import { trainLoop } from '../src/training/train-loop.ts';
import { trainNetwork } from '../src/training/train-network.ts';
import type { Config, DistillSettings } from './config.ts';

/** Networks of one architecture on data of one shape. */
export interface Networks<P extends Tree> {
  readonly parameterization: Parameterization;
  init(rng: Rng): P;
  readonly network: NetworkOf<P>;
  readonly critic: CriticOf<P>;
  /** Shape of one sample. */
  readonly shape: readonly number[];
  /** Number of classes, 0 for none; the label behind the last one is "none". */
  readonly classes: number;
}
/** The networks of a run. */
export interface Ground<P extends Tree> extends Networks<P> {
  readonly context: RunContext<Config>;
}

/** x [B, …] and, where there are classes, y [B] int32. */
export type Sample = { x: Tensor; y?: Tensor };
export type Source = { next(rng: Rng): Sample; readonly cursor?: Resumable | undefined };

/** Classes as the networks take them. */
export const labelsOf = (y: Tensor | undefined, classes: number) => y && { given: y, none: tf.tensor1d([classes], 'int32') };

/** Trains a teacher by denoising; with classes some samples are shown without theirs. @returns the averaged weights, the caller's */
export async function trainTeacher<P extends Tree>(
  ground: Ground<P>,
  name: string,
  settings: Optimization,
  { source, rng, classDrop = 0 }: { source: Source; rng: Rng; classDrop?: number },
): Promise<P> {
  const { context, parameterization, network, classes } = ground;
  const { params } = await trainNetwork({
    context,
    name,
    steps: settings.steps,
    rng: rng.child('steps'),
    optimizer: adamW(),
    ...schedulesOf(settings),
    cursor: source.cursor,
    init: () => ground.init(rng.child('init')),
    batch(stepRng) {
      const { x, y } = source.next(stepRng.child('data'));
      const B = x.shape[0]!;
      const dropped = stepRng.child('drop').uniforms(B);
      const shown = y && tf.tidy(() => tf.where(tf.tensor1d(Array.from(dropped, (u) => u < classDrop), 'bool'), tf.fill([B], classes, 'int32'), y)); // prettier-ignore
      y?.dispose();
      return {
        x,
        e: stepRng.child('noise').normal(x.shape),
        t: parameterization.drawTimes(stepRng.child('times'), B, 'fit'),
        ...(shown && { y: shown }),
      };
    },
    loss(weights, { x, e, t, y }: { x: Tensor; e: Tensor; t: Tensor; y?: Tensor }) {
      const condition = labelsOf(y, classes);
      const scale = 1 / (x.size / x.shape[0]!);
      return { loss: fakeScoreLoss(network(weights), { x, e, t, ...(condition && { condition }) }, { parameterization, scale }).loss };
    },
  });
  return params;
}

/** What sets one distillation apart. */
export type Variant = {
  readonly name: string;
  readonly steps: number;
  readonly guidance: GuidanceScales;
  readonly alpha?: number;
  /** `direct` for the baseline of distribution matching. */
  readonly gradient?: 'full' | 'direct';
  readonly adversarial?: AdversarialOptions;
};

type Watch<P> = { readonly at: readonly number[]; show(generator: P, iteration: number): Promise<void> };

/** Distils a teacher into a generator of the same architecture. @returns the average of the generator, the caller's */
export async function distill<P extends Tree>(
  ground: Ground<P>,
  teacher: P,
  variant: Variant,
  settings: DistillSettings,
  { rng, source, watch }: { rng: Rng; source?: Source; watch?: Watch<P> },
): Promise<P> {
  const { context, parameterization, shape, classes } = ground;
  const { batch: B, halfLife } = settings;
  const update = updatesOf(ground, teacher, variant);
  const draws = (stream: Rng, k: number, use: 'fit' | 'match', rate: number): UpdateDraws => {
    const y = classes > 0 ? tf.tensor1d(stream.child('labels').integers(B, 0, classes), 'int32') : undefined;
    const condition = labelsOf(y, classes);
    return {
      noises: Array.from({ length: k }, (_, i) => stream.child(`step ${i}`).normal([B, ...shape])),
      e: stream.child('noise').normal([B, ...shape]),
      t: parameterization.drawTimes(stream.child('times'), B, use),
      rate: tf.scalar(rate),
      ...(condition && { condition }),
    };
  };
  const every = watch && greatestCommonDivisor([...watch.at, settings.steps]);
  const { state } = await trainLoop<State<P>, Batch>({
    context,
    name: variant.name,
    steps: settings.steps,
    rng: rng.child('steps'),
    ...(source?.cursor && { cursor: source.cursor }),
    init: () => update.init(),
    batch(stepRng, step) {
      const k = update.stepsOf(stepRng.child('k').uniforms(1)[0]!);
      const fake = draws(stepRng.child('fake'), k, 'fit', settings.fakeRate);
      const real = variant.adversarial && source?.next(stepRng.child('real'));
      if (real?.y && fake.condition) {
        // Real and generated images share their classes.
        fake.condition.given.dispose();
        fake.condition = { ...fake.condition, given: real.y };
      }
      return {
        fake,
        generator: draws(stepRng.child('generator'), k, 'match', settings.generatorRate),
        beta: tf.scalar(emaBeta(step * B, B, { halfLife })),
        ...(real && { real: real.x }),
      };
    },
    step: update.step,
    every: { checkpointSeconds: context.config.checkpointSeconds, ...(every && { watch: every }) },
    ...(watch && {
      watch: async ({ generator }: State<P>, step: number) => {
        if (watch.at.includes(step) || step === settings.steps) await watch.show(generator.average, step);
      },
    }),
  });
  disposeTree([state.fake, state.generator.params, state.generator.adam]);
  return state.generator.average;
}

type State<P extends Tree> = { fake: FakeState<P>; generator: GeneratorState<P> };
type Batch = { fake: UpdateDraws; generator: UpdateDraws; beta: Tensor; real?: Tensor };
type Step<P extends Tree> = (state: State<P>, batch: Batch) => { state: State<P>; metrics: { loss: Tensor; [name: string]: Tensor } };

/** Both updates as one step. Without the adversarial term no data gets near it. */
function updatesOf<P extends Tree>(
  { parameterization, network, critic }: Ground<P>,
  teacher: P,
  { steps, guidance, alpha = 1, gradient = 'full', adversarial }: Variant,
): { init(): State<P>; stepsOf(u: number): number; step: Step<P> } {
  const recipe = { parameterization, steps, guidance, matching: { alpha, gradient, allowUnstableAlpha: alpha > 1.2 } };
  if (adversarial === undefined) {
    const run = distillation(network, recipe);
    return {
      init: () => run.init(teacher),
      stepsOf: run.stepsOf,
      step({ fake, generator }, batch) {
        const fitted = run.fakeUpdate(fake, generator.params, batch.fake);
        const moved = run.generatorUpdate(generator, { teacher, fake: fitted.state.params }, { ...batch.generator, beta: batch.beta });
        const { loss, divergence, spread } = moved.metrics;
        return {
          state: { fake: fitted.state, generator: moved.state },
          metrics: { loss, 'fake loss': fitted.metrics.loss, divergence, spread },
        };
      },
    };
  }
  const run = distillation(network, { ...recipe, adversarial }, critic);
  return {
    init: () => run.init(teacher),
    stepsOf: run.stepsOf,
    step({ fake, generator }, batch) {
      const fitted = run.fakeUpdate(fake, generator.params, { ...batch.fake, real: batch.real! });
      const shares = { matchingShare: tf.scalar(0.5), adversarialShare: tf.scalar(0.5) };
      const nets = { teacher, fake: fitted.state.params };
      const moved = run.generatorUpdate(generator, nets, { ...batch.generator, ...shares, beta: batch.beta });
      const { loss, divergence, spread, adversarial: gan } = moved.metrics;
      const { loss: fit, critic: judged } = fitted.metrics;
      return {
        state: { fake: fitted.state, generator: moved.state },
        metrics: { loss, 'fake loss': fit, critic: judged, adversarial: gan, divergence, spread },
      };
    },
  };
}

const greatestCommonDivisor = (numbers: readonly number[]): number =>
  numbers.reduce((a, b) => {
    let [x, y] = [a, b];
    while (y > 0) [x, y] = [y, x % y];
    return x;
  });

/** Draws samples on the host: every x^(1) … x^(K) of a chain from given noise, flattened. */
export async function drawChain<P extends Tree>(
  { parameterization, network, classes, context }: Ground<P>,
  params: P,
  levels: readonly number[],
  given: { z: Rows['z']; y?: Rows['y'] },
  { noise = 'fresh', rng, batch }: { noise?: 'fresh' | 'ddim'; rng: Rng; batch: number },
): Promise<Float32Array[]> {
  const sampler = sidSampler(network, { parameterization, noise });
  const shape = given.z!.shape.slice(1);
  const found = await inBatches({ z: given.z, y: given.y }, { batch, signal: context.signal }, ({ z, y }, from) => {
    const condition = labelsOf(y, classes);
    const fresh = (i: number): Tensor => rng.child(`${from}, step ${i}`).normal([z!.shape[0]!, ...shape]);
    const outputs = Array.from(sampler.steps(params, z!, { levels, noise: fresh, ...(condition && { condition }) }), ({ x }) => x);
    condition?.none.dispose();
    // A teacher's many steps are not looked at one by one.
    const shown = noise === 'ddim' ? outputs.slice(-1) : outputs;
    if (noise === 'ddim') disposeTree(outputs.slice(0, -1));
    return Object.fromEntries(shown.map((x, k) => [String(k), x]));
  });
  sampler.dispose();
  return Object.values(found).map(({ data }) => data as Float32Array);
}
