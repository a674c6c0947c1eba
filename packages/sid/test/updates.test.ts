import { flattenTree, Rng, tf, treeMap, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { everyEngine } from '@atelier/testkit/vitest';
import { expect, it } from 'vitest';
import {
  adversarialSettings,
  crossEntropy,
  discriminatorLoss,
  discriminatorTerm,
  distillation,
  emaBeta,
  epsilonParameterization,
  fakeScoreLoss,
  generatorAdversarialLoss,
  guidanceScales,
  initPointNetwork,
  parsePointNetwork,
  pointCritic,
  pointNetwork,
  type PointNetworkParams,
  type SidNetwork,
} from '../src/index.ts';

const config = parsePointNetwork({ width: 16, depth: 2, classes: 2 });
const network = (p: PointNetworkParams): SidNetwork => pointNetwork(p, config);
const at = (name: string): PointNetworkParams => initPointNetwork(new Rng(name), config);
const [B, shape] = [6, [6, 2]];
const scalar = (x: Tensor): number => x.dataSync()[0]!;
const flat = (tree: PointNetworkParams): Float32Array =>
  Float32Array.from(Object.values(flattenTree(tree)).flatMap((leaf) => Array.from(leaf.dataSync())));
const largest = (values: Float32Array): number => values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
const parameterization = epsilonParameterization();

/** The draws of an update of k steps. */
function drawsOf(name: string, k: number) {
  const rng = new Rng(name);
  const given = tf.tensor1d(rng.child('labels').integers(B, 0, 2), 'int32');
  return {
    noises: Array.from({ length: k }, (_, i) => rng.child(i).normal(shape)),
    e: rng.child('e').normal(shape),
    t: parameterization.drawTimes(rng.child('t'), B, 'match'),
    condition: { given, none: tf.tensor1d([2], 'int32') },
    rate: tf.scalar(0.01),
  };
}

everyEngine(() => {
  it('14: averages with a ramp, from nothing', () => {
    expect(emaBeta(0, 8, { halfLife: 1000 })).toBe(0);
    expect(emaBeta(100, 8, { halfLife: 1000, rampUp: 0.05 })).toBeCloseTo(0.5 ** (8 / 5), 12);
    expect(emaBeta(1e9, 8, { halfLife: 1000 })).toBeCloseTo(0.5 ** (8 / 1000), 12);
  });

  it('15: clamps the generator’s logits, and SiDA’s discriminator not', () => {
    const logits = tf.tensor([[-12, 3], [11, -9]]); // prettier-ignore
    const gradient = (f: (l: Tensor) => Tensor): Float32Array =>
      tf
        .valueAndGrad((l: Tensor) => tf.sum(f(l)))(logits)
        .grad.dataSync() as Float32Array;
    const g = gradient((l) => crossEntropy(l, 1, { reduction: adversarialSettings.sida.reduction, clamp: true }));
    expect([g[0], g[2]]).toEqual([0, 0]);
    expect(Math.abs(g[3]!)).toBeGreaterThan(0.1);
    const d = gradient((l) => discriminatorTerm(l, tf.zerosLike(l), { reduction: 'batch', clamp: false }));
    expect(Math.abs(d[0]!)).toBeGreaterThan(0.1);
  });

  it('16: an update moves its own network alone, by the learning rate, and the average follows', async () => {
    const run = distillation<PointNetworkParams>(network, { parameterization, steps: 2, guidance: guidanceScales.none });
    const teacher = at('teacher');
    const copy = treeMap((leaf) => leaf.clone(), teacher);
    const { fake, generator } = run.init(teacher);
    const before = flat(generator.params);
    const fitted = run.fakeUpdate(fake, generator.params, drawsOf('first', 2));
    expectClose(flat(generator.params), before, {}, 'the generator at the fake score’s update');
    // Adam without momentum: the first update is the learning rate times the sign of the gradient.
    const steps = flat(fitted.state.params).map((value, i) => value - flat(fake.params)[i]!);
    const moved = steps.filter((step) => step !== 0);
    expect(moved.length).toBeGreaterThan(50);
    for (const step of moved) expect(Math.abs(Math.abs(step) - 0.01)).toBeLessThan(1e-5);
    const fakeBefore = flat(fitted.state.params);
    const next = run.generatorUpdate(
      generator,
      { teacher, fake: fitted.state.params },
      { ...drawsOf('second', 1), beta: tf.scalar(emaBeta(0, B, { halfLife: 1e6 })) },
    );
    expectClose(flat(fitted.state.params), fakeBefore, {}, 'the fake score at the generator’s update');
    expectClose(flat(teacher), flat(copy), {}, 'the teacher');
    expectClose(flat(next.state.average), flat(next.state.params), {}, 'the average after the first update');
    expect(run.stepsOf(0)).toBe(1);
    expect(run.stepsOf(0.5)).toBe(2);
    expect(run.stepsOf(0.999)).toBe(2);
    await expectNoLeak(() => tf.tidy(() => void run.fakeUpdate(fake, generator.params, drawsOf('again', 1))));
  });

  it('adds the discriminator to the fake score and its opposite to the generator', () => {
    const recipe = { parameterization, steps: 1, guidance: guidanceScales.zero, adversarial: adversarialSettings.sidDit };
    const run = distillation<PointNetworkParams>(network, recipe, (p) => pointCritic(p, config));
    const teacher = at('teacher');
    const { fake, generator } = run.init(teacher);
    const draws = drawsOf('adversarial', 1);
    const fitted = run.fakeUpdate(fake, generator.params, { ...draws, real: new Rng('real').normal(shape) });
    expect(scalar(fitted.metrics.critic)).toBeGreaterThan(0);
    const shares = { matchingShare: tf.scalar(1), adversarialShare: tf.scalar(0) };
    const apart = run.generatorUpdate(generator, { teacher, fake: fitted.state.params }, { ...draws, ...shares, beta: tf.scalar(0) });
    const joint = run.generatorUpdate(
      generator,
      { teacher, fake: fitted.state.params },
      { ...draws, ...shares, adversarialShare: tf.scalar(5), beta: tf.scalar(0) },
    );
    expect(scalar(apart.metrics.adversarial)).toBeCloseTo(scalar(joint.metrics.adversarial), 5);
    expect(largest(flat(joint.state.params).map((value, i) => value - flat(apart.state.params)[i]!))).toBeGreaterThan(1e-3);
  });

  it('a NaN in an image reaches no gradient of the fake score, with and without the discriminator', () => {
    const images = new Rng('images').normal(shape);
    const spoiled = Float32Array.from(images.dataSync());
    spoiled[2 * 4 + 1] = NaN;
    const { e, t, condition } = drawsOf('spoiled', 1);
    const params = at('fake');
    const gradientOf = (x: Tensor, kept: Tensor): Float32Array => {
      const { grads } = valueAndGrad((p: PointNetworkParams) => {
        const { perElement } = fakeScoreLoss(network(p), { x, e, t, condition }, { parameterization });
        return { loss: tf.sum(tf.mul(perElement, tf.reshape(kept, [B, 1]))), aux: {} };
      }, params);
      return flat(grads);
    };
    const others = tf.tensor1d([1, 1, 1, 1, 0, 1]);
    expectClose(gradientOf(tf.tensor(spoiled, shape), tf.ones([B])), gradientOf(images, others), { max: 1e-5 });
    for (const reduction of ['batch', 'sample'] as const) {
      const logits = tf.tensor([[1, 2], [NaN, 3], [0, -1]]); // prettier-ignore
      const [kept, weight] = [tf.tensor1d([1, 0, 1]), tf.tensor1d([1, NaN, 2])];
      const options = { reduction, criticScale: 1, generatorScale: 1 };
      const gan = generatorAdversarialLoss(logits, { x: tf.zeros([3, 2]), weight, kept }, options);
      const judge = discriminatorLoss(
        { real: tf.zerosLike(logits), fake: logits },
        { t: tf.tensor1d([1, 2, 3], 'int32'), pixels: 2, kept },
        { ...options, parameterization },
      );
      for (const { loss, perSample } of [gan, judge]) {
        expect(Number.isFinite(scalar(loss))).toBe(true);
        expect(perSample.dataSync()[1]).toBe(0);
      }
    }
    const run = distillation<PointNetworkParams>(
      network,
      { parameterization, steps: 1, guidance: guidanceScales.none, adversarial: adversarialSettings.sida },
      (p) => pointCritic(p, config),
    );
    const { fake, generator } = run.init(at('teacher'));
    const draws = drawsOf('spoiled update', 1);
    const noise = Float32Array.from(draws.noises[0]!.dataSync());
    noise[2 * 4] = NaN;
    const { state, metrics } = run.fakeUpdate(fake, generator.params, {
      ...draws,
      noises: [tf.tensor(noise, shape)],
      real: new Rng('real').normal(shape),
    });
    expect(scalar(metrics.kept)).toBeCloseTo((B - 1) / B, 6);
    expect(Number.isFinite(scalar(metrics.critic))).toBe(true);
    expect(flat(state.params).filter((value, i) => value !== flat(fake.params)[i]).length).toBeGreaterThan(50);
  });
});
