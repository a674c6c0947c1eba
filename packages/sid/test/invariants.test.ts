import { flattenTree, Rng, tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { everyEngine } from '@atelier/testkit/vitest';
import { expect, it } from 'vitest';
import {
  addNoise,
  edmParameterization,
  epsilonParameterization,
  fakeScoreLoss,
  fewStepChain,
  flowParameterization,
  generatorLoss,
  guidanceScales,
  guidedOutput,
  initPointNetwork,
  matchingSigma,
  parsePointNetwork,
  pointNetwork,
  sidSampler,
  velocityParameterization,
  type Condition,
  type GeneratorLossOptions,
  type Parameterization,
  type PointNetworkParams,
  type SidNetwork,
} from '../src/index.ts';
import { gaussianEdm, gaussianNetwork } from './parity/gaussian.ts';

const config = parsePointNetwork({ width: 16, depth: 2, classes: 2 });
const network = (p: PointNetworkParams): SidNetwork => pointNetwork(p, config);
const at = (name: string): PointNetworkParams => initPointNetwork(new Rng(name), config);
const [B, shape] = [6, [6, 2]];
const scalar = (x: Tensor): number => x.dataSync()[0]!;

/** Draws for a loss at images x. */
function batchOf(rng: Rng, parameterization: Parameterization, x: Tensor) {
  const given = tf.tensor1d(rng.child('labels').integers(B, 0, 2), 'int32');
  const condition: Condition = { given, none: tf.tensor1d([2], 'int32') };
  return { x, e: rng.child('e').normal(shape), t: parameterization.drawTimes(rng.child('t'), B, 'match'), condition };
}

/** Loss and gradient of the generator's parameters at α and the scales of guidance, noise fixed. */
function gradientAt(
  parameterization: Parameterization,
  options: Partial<GeneratorLossOptions>,
  nets = { teacher: at('teacher'), fake: at('fake') },
) {
  const rng = new Rng('draws');
  return valueAndGrad((p: PointNetworkParams) => {
    const levels = parameterization.levels(1);
    const batch = batchOf(rng, parameterization, tf.zeros(shape));
    const chain = fewStepChain(network(p), [rng.child('z').normal(shape)], { parameterization, levels, condition: batch.condition });
    const x = chain.outputs[0]!;
    const out = generatorLoss(
      { teacher: network(nets.teacher), fake: network(nets.fake) },
      { ...batch, x },
      { parameterization, guidance: guidanceScales.none, allowUnstableAlpha: true, ...options },
    );
    return { loss: out.loss, aux: { divergence: out.divergence } };
  }, at('generator'));
}

const flat = (tree: PointNetworkParams): Float32Array =>
  Float32Array.from(Object.values(flattenTree(tree)).flatMap((leaf) => Array.from(leaf.dataSync())));
const largest = (values: Float32Array): number => values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);

everyEngine(() => {
  it('1: is 0 with gradient 0 where fake score and teacher are one', () => {
    const one = { teacher: at('same'), fake: at('same') };
    for (const parameterization of [epsilonParameterization(), flowParameterization(), edmParameterization()])
      for (const alpha of [0, 1, 1.2]) {
        const { loss, grads } = gradientAt(parameterization, { alpha, guidance: guidanceScales.lsg(2) }, one);
        expect(Math.abs(scalar(loss))).toBeLessThan(1e-7);
        expect(largest(flat(grads))).toBeLessThan(1e-7);
      }
    const mixed = gradientAt(epsilonParameterization(), { guidance: guidanceScales.long(3) }, one);
    expect(largest(flat(mixed.grads))).toBeGreaterThan(1e-3);
  });

  it('2: is affine in α, and its slope is minus the weighted distance', () => {
    const parameterization = epsilonParameterization();
    const [zero, one, other] = [0, 1, 0.6].map((alpha) => gradientAt(parameterization, { alpha }));
    const [g0, g1] = [flat(zero!.grads), flat(one!.grads)];
    expectClose(
      flat(other!.grads),
      g0.map((g, i) => g + 0.6 * (g1[i]! - g)),
      { max: 1e-4 },
    );
    expectClose([scalar(other!.loss)], [scalar(one!.loss) + 0.4 * scalar(one!.aux.divergence)], { rel: 1e-4 });
  });

  it('follows -weight·Δ alone with the direct gradient', () => {
    const parameterization = epsilonParameterization();
    const nets = { teacher: gaussianNetwork(0.4, 0.36), fake: gaussianNetwork(-0.2, 0.81) };
    const rng = new Rng('direct');
    const [x, e, t] = [rng.normal([4, 3]), rng.normal([4, 3]), tf.tensor1d([50, 300, 600, 900], 'int32')];
    for (const alpha of [1, 0.5]) {
      const of = (image: Tensor) =>
        generatorLoss(nets, { x: image, e, t }, { parameterization, guidance: guidanceScales.none, alpha, gradient: 'direct' });
      const { teacher, fake, weight } = of(x);
      const wanted = tf.mul(tf.mul(tf.sub(fake, teacher), tf.reshape(weight, [4, 1])), 1 / 4);
      expectClose(tf.grad((image: Tensor) => of(image).loss)(x), wanted, { max: 1e-5 }, `α = ${alpha}`);
    }
  });

  it('3: has mean (1 - α)·F for the optimal fake score, 0 for α = 1', () => {
    const [n, mu, s, b, a, sigma] = [20_000, 0.4, 0.6, -0.2, 0.9, 0.8];
    const rng = new Rng('monte carlo');
    const x = tf.add(b, tf.mul(a, rng.normal([n, 1])));
    const nets = { teacher: gaussianNetwork(mu, s ** 2), fake: gaussianNetwork(b, a ** 2) };
    const [p, q] = [s ** 2 / (s ** 2 + sigma ** 2), a ** 2 / (a ** 2 + sigma ** 2)];
    const F = ((1 - p) * (mu - b)) ** 2 + (p - q) ** 2 * (a ** 2 + sigma ** 2);
    for (const alpha of [1, 0.5]) {
      const batch = { x, e: rng.normal([n, 1]), t: tf.fill([n], sigma) };
      const { perElement } = generatorLoss(nets, batch, {
        parameterization: gaussianEdm,
        guidance: guidanceScales.none,
        alpha,
        weighting: 'one',
      });
      const { mean, variance } = tf.moments(perElement);
      expect(Math.abs(scalar(mean) - (1 - alpha) * F)).toBeLessThan(4 * Math.sqrt(scalar(variance) / n));
    }
  });

  it('7: guides affinely, knows no label at 0, and at κ1 = 0 fits nothing of the labels', () => {
    const parameterization = epsilonParameterization();
    const batch = batchOf(new Rng('guided'), parameterization, new Rng('x').normal(shape));
    const net = network(at('net'));
    const o = (kappa: number, condition = batch.condition): Tensor =>
      guidedOutput(net, parameterization, { ...batch, condition }, kappa, 'test');
    const [none, given] = [o(0), o(1)];
    for (const kappa of [-1, 0.5, 4.5])
      expectClose(o(kappa), tf.add(none, tf.mul(tf.sub(given, none), kappa)), { max: 1e-5 }, `κ = ${kappa}`);
    const others = { ...batch.condition, given: tf.sub(tf.scalar(1, 'int32'), batch.condition.given) };
    expectClose(o(0, others), none, {}, 'κ = 0 with other labels');
    const { grads } = valueAndGrad(
      (p: PointNetworkParams) => ({ loss: fakeScoreLoss(network(p), batch, { parameterization, kappa: 0 }).loss, aux: {} }),
      at('net'),
    );
    expect(largest(tf.slice(grads.classes!.weight, 0, 2).dataSync() as Float32Array)).toBe(0);
    expect(largest(tf.slice(grads.classes!.weight, 2, 1).dataSync() as Float32Array)).toBeGreaterThan(0);
  });

  it('8: fits ε and v alike where the networks are one', () => {
    const [epsilon, velocity] = [epsilonParameterization(), velocityParameterization()];
    const { condition: _, ...batch } = batchOf(new Rng('twins'), epsilon, new Rng('x').normal(shape));
    const v = network(at('v'));
    // ε̂ = a·v̂ + s·x_t.
    const twin: SidNetwork = (x, t) => {
      const { signal, noise } = epsilon.path(tf.cast(t, 'int32'));
      return tf.add(tf.mul(tf.reshape(signal, [-1, 1]), v(x, t)), tf.mul(tf.reshape(noise, [-1, 1]), x));
    };
    const [first, second] = [
      fakeScoreLoss(twin, batch, { parameterization: epsilon }),
      fakeScoreLoss(v, batch, { parameterization: velocity }),
    ];
    expectClose(first.perElement, second.perElement, { max: 1e-5 });
  });

  it('9: agrees between EDM and DDPM where the denoiser is one', () => {
    const [epsilon, edm] = [epsilonParameterization(), edmParameterization()];
    const { condition: _, ...batch } = batchOf(new Rng('levels'), epsilon, new Rng('x').normal(shape));
    const { signal, noise } = epsilon.path(batch.t);
    const sigma = tf.div(noise, signal);
    const column = (x: Tensor): Tensor => tf.reshape(x, [-1, 1]);
    // D as a function of the image x/a; for each parameterization the output that gives it.
    const denoiser =
      (slope: number) =>
      (image: Tensor): Tensor =>
        tf.mul(tf.tanh(tf.mul(image, slope)), 0.8);
    const asEpsilon =
      (d: (x: Tensor) => Tensor): SidNetwork =>
      (x) =>
        tf.div(tf.sub(x, tf.mul(column(signal), d(tf.div(x, column(signal))))), column(noise));
    const asEdm =
      (d: (x: Tensor) => Tensor): SidNetwork =>
      (scaled) => {
        const total = tf.add(tf.square(column(sigma)), 0.25);
        const x = tf.mul(scaled, tf.sqrt(total));
        return tf.div(tf.sub(d(x), tf.div(tf.mul(x, 0.25), total)), tf.div(tf.mul(column(sigma), 0.5), tf.sqrt(total)));
      };
    const [teacher, fake] = [denoiser(1), denoiser(0.7)];
    const options = { guidance: guidanceScales.none, alpha: 1.2 };
    const first = generatorLoss({ teacher: asEpsilon(teacher), fake: asEpsilon(fake) }, batch, { ...options, parameterization: epsilon });
    const second = generatorLoss(
      { teacher: asEdm(teacher), fake: asEdm(fake) },
      { ...batch, t: sigma },
      { ...options, parameterization: edm },
    );
    for (const key of ['teacher', 'fake', 'weight', 'perElement'] as const)
      expectClose(first[key], second[key], { max: 1e-5, abs: 1e-6 }, key);
    // The image at EDM's levels is the one at DDPM's, in units of its signal.
    expectClose(tf.div(first.noised, column(signal)), second.noised, { max: 1e-5 }, 'noised');
  });

  it('10: a chain is cut off, not spaced anew, and its gradient is that of the last call', () => {
    for (const noise of ['fresh', 'fixed', 'ddim'] as const)
      for (const parameterization of [epsilonParameterization(), flowParameterization(), edmParameterization()]) {
        const levels = parameterization.levels(4);
        const draws = Array.from({ length: 4 }, (_, i) => new Rng(`noise ${i}`).normal(shape));
        const options = { parameterization, levels, noise };
        const given = (k: number): Tensor[] => (noise === 'fresh' ? draws.slice(0, k) : [draws[0]!]);
        const generator = at('generator');
        const whole = fewStepChain(network(generator), given(4), options);
        for (const k of [1, 2, 3])
          expectClose(fewStepChain(network(generator), given(k), options, k).outputs.at(-1)!, whole.outputs[k - 1]!, {}, `k = ${k}`);
        // The gradient at k = 3 is that of one call at the input y_3.
        const { grads } = valueAndGrad(
          (p: PointNetworkParams) => ({ loss: tf.sum(tf.square(fewStepChain(network(p), given(3), options, 3).outputs[2]!)), aux: {} }),
          generator,
        );
        const y = whole.inputs[2]!;
        const t = parameterization.timeOf(levels[2]!, B);
        const input = parameterization.input(y, t);
        const alone = valueAndGrad(
          (p: PointNetworkParams) => ({ loss: tf.sum(tf.square(parameterization.denoised(network(p)(input.x, input.t), y, t))), aux: {} }),
          generator,
        );
        expectClose(flat(grads), flat(alone.grads), { max: 1e-5 }, `${parameterization.name}, ${noise}`);
        // The sampler runs the same chain.
        const sampler = sidSampler(network, { parameterization, noise });
        const steps = [...sampler.steps(generator, draws[0]!, { levels, noise: (i) => draws[i]!.clone() })];
        expect(steps.map(({ level }) => level)).toEqual(levels);
        steps.forEach(({ x }, k) => expectClose(x, whole.outputs[k]!, { max: 1e-5 }, `sampler, step ${k + 1}`));
        expect(sampler.graphs).toBeLessThanOrEqual(1);
        sampler.dispose();
      }
    const one = epsilonParameterization();
    const gradientOf = (gradient: 'last' | 'whole') =>
      valueAndGrad(
        (p: PointNetworkParams) => ({
          loss: tf.sum(fewStepChain(network(p), [tf.ones(shape)], { parameterization: one, levels: one.levels(1), gradient }).outputs[0]!),
          aux: {},
        }),
        at('generator'),
      );
    expectClose(flat(gradientOf('last').grads), flat(gradientOf('whole').grads), {}, 'one step');
  });

  it('11: has the published levels', () => {
    const epsilon = epsilonParameterization();
    expect(epsilon.levels(4)).toEqual([625, 468, 312, 156]);
    expect(epsilon.levels(2)).toEqual([625, 312]);
    const { signal, noise } = epsilon.path(tf.tensor1d([625], 'int32'));
    expectClose([scalar(signal), scalar(noise) / scalar(signal)], [0.371172, 2.501704], { rel: 1e-5 });
    expectClose(matchingSigma(tf.tensor1d([0, 1])), [0.002, 24.4083], { rel: 1e-5 });
    expect(flowParameterization().levels(4)).toEqual([1, 0.75, 0.5, 0.25]);
    const edm = edmParameterization();
    expect(edm.levels(1)).toEqual([2.5]);
    expectClose(edm.levels(4), [2.5, 1.454, 0.867, 0.47], { abs: 2e-3 });
    const times = Array.from(epsilon.drawTimes(new Rng('t'), 5000, 'match').dataSync());
    expect([Math.min(...times), Math.max(...times)]).toEqual([20, 979]);
  });

  it('13: leaves out samples with NaN, and divides by all', () => {
    const parameterization = flowParameterization();
    const batch = batchOf(new Rng('nan'), parameterization, new Rng('x').normal(shape));
    const nets = { teacher: network(at('teacher')), fake: network(at('fake')) };
    const options = { parameterization, guidance: guidanceScales.none };
    const clean = generatorLoss(nets, batch, options);
    const spoiled = Float32Array.from(batch.x.dataSync());
    spoiled[5] = NaN;
    const x = tf.tensor(spoiled, shape);
    const out = generatorLoss(nets, { ...batch, x }, options);
    const rows = Array.from(tf.sum(clean.perElement, 1).dataSync());
    expectClose([scalar(out.loss)], [rows.reduce((sum, value, i) => (i === 2 ? sum : sum + value), 0) / B], { rel: 1e-5 });
    expectClose(out.kept, [1, 1, 0, 1, 1, 1]);
    const fit = fakeScoreLoss(nets.fake, { ...batch, x }, { parameterization });
    const all = Array.from(tf.sum(fakeScoreLoss(nets.fake, batch, { parameterization }).perElement, 1).dataSync());
    expectClose([scalar(fit.loss)], [all.reduce((sum, value, i) => (i === 2 ? sum : sum + value), 0) / B], { rel: 1e-5 });
  });

  it('noises along the path of its parameterization', () => {
    const [x, e] = [tf.tensor([[1, 2]]), tf.tensor([[3, -1]])]; // prettier-ignore
    expectClose(addNoise(flowParameterization(), x, e, tf.tensor1d([0.25])), [1.5, 1.25], { rel: 1e-6 });
    expectClose(addNoise(edmParameterization(), x, e, tf.tensor1d([2])), [7, 0], { abs: 1e-6 });
  });
});
