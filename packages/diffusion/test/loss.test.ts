import fc from 'fast-check';
import { Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { checkLayer, centralDifference, expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { applyDiT, initDiT } from '@atelier/nn';
import {
  cosineBetas,
  diffuse,
  diffusionLoss,
  diffusionTables,
  discretizedGaussianLogLikelihood,
  drawDiffusion,
  linearBetas,
  normalKl,
  respace,
  variationalTerm,
  type DiffusionTables,
  type Variance,
} from '../src/index.ts';
import { hostBinLogLikelihood, hostKl, hostLogTilde, hostLogVariance, hostPosteriorMean, hostStep, hostX0 } from './host-diffusion.ts';

beforeAll(async () => {
  await useEngine();
});

const full = diffusionTables(linearBetas());
const short = diffusionTables(cosineBetas(8));
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** The variational term of each sample, in bits, in float64. */
function hostTerm(
  tables: DiffusionTables,
  at: { x0: Float64Array; xk: Float64Array; k: readonly number[] },
  epsilon: Float64Array,
  v: Float64Array,
) {
  const size = at.x0.length / at.k.length;
  return at.k.map((k, b) => {
    const elements = Array.from({ length: size }, (_, i) => {
      const j = b * size + i;
      const logVariance = hostLogVariance(tables, k, 'learned', v[j]!);
      const predicted = hostPosteriorMean(tables, k, hostX0(tables, k, at.xk[j]!, epsilon[j]!), at.xk[j]!);
      if (k === 0) return -hostBinLogLikelihood(at.x0[j]!, predicted, logVariance);
      return hostKl(hostPosteriorMean(tables, k, at.x0[j]!, at.xk[j]!), hostLogTilde(tables, k), predicted, logVariance);
    });
    return mean(elements) / Math.LN2;
  });
}

describe('normalKl', () => {
  it('value, gradients and forward mode', () => {
    const rng = new Rng(1);
    const xs = ['m1', 'l1', 'm2', 'l2'].map((name) => rng.child(name).normal([2, 3]));
    const host = (...[m1, l1, m2, l2]: Float64Array[]): Float64Array => m1!.map((m, i) => hostKl(m, l1![i]!, m2![i]!, l2![i]!));
    checkLayer((...at) => normalKl(at[0]!, at[1]!, at[2]!, at[3]!), host, xs, rng);
    expectClose(normalKl(xs[0]!, xs[1]!, xs[0]!, xs[1]!), new Float32Array(6));
  });
});

describe('discretizedGaussianLogLikelihood', () => {
  it('value, gradients and forward mode of mean and variance, with both open ends', () => {
    const rng = new Rng(2);
    const levels = Float32Array.from([-1, -0.9995, -0.7, 0, 0.25, 0.9985, 0.9995, 1], Math.fround);
    const x = tf.tensor2d(levels, [2, 4]);
    const host = (...[m, l]: Float64Array[]): Float64Array => m!.map((value, i) => hostBinLogLikelihood(levels[i]!, value, l![i]!));
    const [at, logVariance] = [rng.child('m').uniform([2, 4], -1, 1), rng.child('l').uniform([2, 4], -2, 0)];
    // A bin holds about 1/500 of the probability: the difference of two float32 near ½ keeps four to five digits.
    checkLayer((m, l) => discretizedGaussianLogLikelihood(x, m!, l!), host, [at, logVariance], rng, { value: 1e-5, derivative: 2e-4 });
  });

  it('the probability of a bin, also in the tails, has an error of at most 1e-7, about one float32 rounding of a number near one', () => {
    const levels = Float32Array.from({ length: 2001 }, (_, i) => (i - 1000) / 1500);
    const logVariance = 2 * Math.log(0.12);
    const likelihood = tf.exp(discretizedGaussianLogLikelihood(tf.tensor1d(levels), tf.zeros([2001]), tf.fill([2001], logVariance)));
    const expected = Float64Array.from(levels, (x) => Math.exp(hostBinLogLikelihood(x, 0, Math.fround(logVariance))));
    expectClose(likelihood.dataSync(), expected, { abs: 1e-7 });
  });

  it('the probabilities of all levels sum to one, and each logarithm has a lower bound', () => {
    const levels = tf.linspace(-1, 1, 256);
    for (const [m, l] of [
      [0.1, -4],
      [-1.2, -1],
      [0.9, 1],
    ] as const) {
      const total = tf.sum(tf.exp(discretizedGaussianLogLikelihood(levels, tf.fill([256], m), tf.fill([256], l))));
      expectClose(total.dataSync(), [1], { abs: 1e-4 });
    }
    expectClose(discretizedGaussianLogLikelihood(tf.zeros([1]), tf.ones([1]), tf.fill([1], -20)), [Math.log(1e-12)], { rel: 1e-6 });
  });
});

describe('variationalTerm', () => {
  it('value and gradients against float64, first and later steps in one batch', () => {
    for (const [tables, k] of [
      [short, [0, 5, 7]],
      [respace(full, '5'), [3, 0, 1]],
    ] as const) {
      const rng = new Rng(3);
      const shape = [3, 2, 3, 3];
      const x0 = rng.child('x0').uniform(shape, -1, 1);
      const steps = tf.tensor1d([...k], 'int32');
      const xk = diffuse(tables, x0, rng.child('noise').normal(shape), steps);
      const [epsilon, v] = [rng.child('e').normal(shape), rng.child('v').uniform(shape, -1.5, 1.5)];
      const weights = [0.7, -1.3, 0.4];
      const { grads, aux } = valueAndGrad(
        (at: { epsilon: Tensor; v: Tensor }) => {
          const term = variationalTerm(at, { x0, xk, k: steps }, tables);
          return { loss: tf.sum(tf.mul(term, tf.tensor1d(weights))), aux: { term } };
        },
        { epsilon, v },
      );
      const host = (x: Tensor): Float64Array => Float64Array.from(x.dataSync());
      const of = (...[e, w]: Float64Array[]): Float64Array =>
        Float64Array.from(hostTerm(tables, { x0: host(x0), xk: host(xk), k }, e!, w!));
      const points = [host(epsilon), host(v)];
      expectClose(aux.term.dataSync(), of(...points), { rel: 1e-3 });
      const [byEpsilon, byV] = centralDifference(of, points, { cotangent: weights });
      expectClose(grads.epsilon.dataSync(), byEpsilon!, { max: 1e-3 }, 'epsilon');
      expectClose(grads.v.dataSync(), byV!, { max: 1e-3 }, 'v');
    }
  });

  it('for the true noise it is 0 with v = -1, and the divergence between the two variances with v = 1', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 999 }), fc.integer({ min: 1, max: 999 }), fc.integer(), (first, second, seed) => {
        tf.tidy(() => {
          const rng = new Rng(seed);
          const shape = [2, 2, 3, 3];
          const [x0, noise] = [rng.child('x0').normal(shape), rng.child('noise').normal(shape)];
          const k = tf.tensor1d([first, second], 'int32');
          const xk = diffuse(full, x0, noise, k);
          const term = (v: number): Tensor => variationalTerm({ epsilon: noise, v: tf.fill(shape, v) }, { x0, xk, k }, full);
          expectClose(term(-1), [0, 0], { abs: 1e-5 });
          const expected = [first, second].map((step) => {
            const { beta, tilde } = hostStep(full, step);
            return (0.5 * (-1 + Math.log(beta / tilde) + tilde / beta)) / Math.LN2;
          });
          expectClose(term(1), expected, { abs: 1e-5 });
        });
      }),
      { numRuns: 15 },
    );
  });
});

describe('diffuse', () => {
  it('mixes data and noise by the step of each sample', () => {
    const rng = new Rng(4);
    const [x0, noise] = [rng.child('x').normal([3, 2, 5, 3]), rng.child('e').normal([3, 2, 5, 3])];
    const k = [0, 999, 437];
    const [a, b] = [x0.dataSync(), noise.dataSync()];
    const expected = Float64Array.from(a, (value, i) => {
      const { bar } = hostStep(full, k[Math.floor(i / 30)]!);
      return Math.sqrt(bar) * value + Math.sqrt(1 - bar) * b[i]!;
    });
    expectClose(diffuse(full, x0, noise, tf.tensor1d(k, 'int32')).dataSync(), expected, { abs: 1e-6 });
  });
});

describe('diffusionLoss', () => {
  const shape = [2, 4, 6, 3];
  const draw = (rng: Rng): { x0: Tensor; noise: Tensor; k: Tensor } => ({
    x0: rng.child('x0').uniform(shape, -1, 1),
    ...drawDiffusion(rng, full, shape),
  });

  it('of a new DiT the squared error is the mean square of the noise; the loss adds the variational term only with a learned variance', () => {
    const rng = new Rng(5);
    const settings = { inChannels: 3, patchSize: 2, width: 8, depth: 1, heads: 2, numClasses: 3, learnSigma: true };
    const params = initDiT(rng.child('init'), settings);
    const batch = draw(rng);
    const y = tf.tensor1d([0, 3], 'int32');
    const parts = diffusionLoss((x, t) => applyDiT(params, x, { t, y }, settings), batch, full, { variance: 'learned' });
    const squares = tf.mean(tf.square(batch.noise), [1, 2, 3]);
    expectClose(parts.mse, squares, { rel: 1e-6 });
    expectClose(parts.lossPerSample, tf.add(parts.mse, parts.vb!), { rel: 1e-6 });
    expectClose(parts.loss, tf.mean(parts.lossPerSample), { rel: 1e-6 });
    const plain = { ...settings, learnSigma: false };
    const fixed = diffusionLoss((x, t) => applyDiT(initDiT(rng, plain), x, { t, y }, plain), batch, full, { variance: 'small' });
    expectClose(fixed.loss, tf.mean(squares), { rel: 1e-6 });
    expect('vb' in fixed).toBe(false);
  });

  it('the variational term trains only v: its gradient is zero at the noise channels', () => {
    const batch = draw(new Rng(6));
    const output = new Rng(7).normal([...shape.slice(0, 3), 6]);
    const gradient = (part: 'vb' | 'mse'): number[][] => {
      const { grads } = valueAndGrad(
        (at: Tensor) => ({ loss: tf.sum(diffusionLoss(() => at, batch, full, { variance: 'learned' })[part]!), aux: {} }),
        output,
      );
      return tf.split(grads, 2, 3).map((half) => Array.from(half.dataSync()));
    };
    const [noiseOfVb, varianceOfVb] = gradient('vb');
    expect(noiseOfVb!.every((value) => value === 0)).toBe(true);
    expect(varianceOfVb!.every((value) => value !== 0)).toBe(true);
    const [noiseOfMse, varianceOfMse] = gradient('mse');
    expect(noiseOfMse!.every((value) => value !== 0)).toBe(true);
    expect(varianceOfMse!.every((value) => value === 0)).toBe(true);
  });

  it('gives the network the times of the original process', () => {
    const seen: number[][] = [];
    const tables = respace(full, '4');
    const { x0, noise } = draw(new Rng(8));
    const network = (x: Tensor, t: Tensor): Tensor => {
      expect(t.dtype).toBe('float32');
      seen.push(Array.from(t.dataSync()));
      return x;
    };
    diffusionLoss(network, { x0, noise, k: tf.tensor1d([3, 1], 'int32') }, tables, { variance: 'large' });
    expect(seen).toEqual([[999, 333]]);
  });

  it('draws steps over the whole process', () => {
    const { k, noise } = drawDiffusion(new Rng(9), short, [4000, 1]);
    const counts = new Array<number>(8).fill(0);
    for (const step of k.dataSync()) counts[step]!++;
    for (const count of counts) expect(Math.abs(count - 500)).toBeLessThan(5 * Math.sqrt(500));
    expect([k.dtype, noise.shape]).toEqual(['int32', [4000, 1]]);
    expectClose(drawDiffusion(new Rng(9), short, [4000, 1]).k, k);
  });

  it('leaves no tensor behind', async () => {
    const batch = draw(new Rng(10));
    const output = new Rng(11).normal([...shape.slice(0, 3), 6]);
    await expectNoLeak(() => diffusionLoss(() => output, batch, full, { variance: 'learned' }));
    await expectNoLeak(() => diffusionLoss((x) => x, batch, full, { variance: 'small' }));
    await expectNoLeak(() => drawDiffusion(new Rng(1), full, shape));
  });

  it('refuses what does not fit', () => {
    const batch = draw(new Rng(12));
    const run =
      (change: object, variance: Variance = 'small', network = (x: Tensor): Tensor => x) =>
      (): unknown =>
        tf.tidy(() => diffusionLoss(network, { ...batch, ...change }, full, { variance }).loss);
    expect(run({ noise: tf.zeros([2, 4, 6, 1]) })).toThrow('diffusionLoss: noise: wanted shape [2, 4, 6, 3], got [2, 4, 6, 1]');
    expect(run({ x0: tf.zeros([2]) })).toThrow('diffusionLoss: x0: wanted a batch [B, …] of rank 2 or more, got [2]');
    expect(run({ k: tf.ones([3], 'int32') })).toThrow('diffusionLoss: k: wanted shape [B=2], got [3]');
    expect(run({ k: tf.ones([2]) })).toThrow('diffusionLoss: k: wanted int32 steps, got float32');
    expect(run({}, 'learned')).toThrow('diffusionLoss: output of the network: wanted shape [2, 4, 6, 6] (ε̂ and v), got [2, 4, 6, 3]');
    expect(run({}, 'small', (x) => tf.concat([x, x], 3))).toThrow(
      'diffusionLoss: output of the network: wanted shape [2, 4, 6, 3], got [2, 4, 6, 6]',
    );
    expect(run({}, 'fixed' as Variance)).toThrow("diffusionLoss: variance: wanted 'learned', 'small' or 'large', got fixed");
    expect(() => drawDiffusion(new Rng(1), full, [3])).toThrow('drawDiffusion: shape: wanted [B, …] of rank 2 or more, got [3]');
    const [x0, k] = [tf.zeros([2, 3]), tf.ones([2], 'int32')];
    expect(() => diffuse(full, x0, tf.zeros([2, 4]), k)).toThrow('diffuse: noise: wanted shape [2, 3], got [2, 4]');
    expect(() => variationalTerm({ epsilon: x0, v: tf.zeros([2, 1]) }, { x0, xk: x0, k }, full)).toThrow(
      'variationalTerm: v: wanted shape [2, 3], got [2, 1]',
    );
  });
});
