import fc from 'fast-check';
import { disposeTree, engineName, Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  cosineBetas,
  ddimSampler,
  ddpmSampler,
  diffusionTables,
  linearBetas,
  respace,
  stepNoise,
  type DiffusionTables,
  type SamplerNetwork,
  type Variance,
} from '../src/index.ts';
import { hostLogVariance, hostPosteriorMean, hostStep, hostX0 } from './host-diffusion.ts';

beforeAll(async () => {
  await useEngine();
});

const full = diffusionTables(linearBetas());
const shape = [2, 2, 3, 3];

/** A nonlinear network of ε̂ and v that depends on the time, and the same in float64. */
const curved =
  (variance: Variance): SamplerNetwork<Tensor[]> =>
  (x, t, [shift]) => {
    const epsilon = tf.add(tf.sin(tf.add(x, shift!)), tf.mul(tf.reshape(t, [-1, 1, 1, 1]), 1e-3));
    return variance === 'learned' ? tf.concat([epsilon, tf.cos(x)], 3) : epsilon;
  };
const hostCurved = (x: number, t: number, shift: number): { epsilon: number; v: number } => ({
  epsilon: Math.sin(x + shift) + 1e-3 * t,
  v: Math.cos(x),
});

type HostRule = (k: number, x: number, output: { epsilon: number; v: number }, z: number) => { sample: number; x0: number };

/** All steps in float64: samples and x̂₀. */
function hostSteps(tables: DiffusionTables, x: Tensor, noises: readonly Tensor[], rule: HostRule): { sample: number[]; x0: number[] }[] {
  let current = Array.from(x.dataSync(), Number);
  return Array.from({ length: tables.steps }, (_, i) => {
    const k = tables.steps - 1 - i;
    const z = noises[i]?.dataSync();
    const made = current.map((value, j) => rule(k, value, hostCurved(value, tables.timesteps[k]!, 0.3), z?.[j] ?? 0));
    current = made.map(({ sample }) => sample);
    return { sample: current, x0: made.map(({ x0 }) => x0) };
  });
}

const clipped = (x: number, clip: boolean): number => (clip ? Math.min(1, Math.max(-1, x)) : x);
const variances = fc.constantFrom<Variance>('learned', 'small', 'large');
const tablesOf = fc.constantFrom(respace(full, 4), respace(full, '2,3'), diffusionTables(cosineBetas(6)), respace(full, 1));

describe('ancestral sampling', () => {
  it('equals float64 at every step, with every variance, clipped or not', () => {
    fc.assert(
      fc.property(tablesOf, variances, fc.boolean(), fc.integer(), (tables, variance, clip, seed) => {
        tf.tidy(() => {
          const rng = new Rng(seed);
          const x = rng.child('x').normal(shape);
          const noises = Array.from({ length: tables.steps - 1 }, (_, i) => rng.child(i).normal(shape));
          const sampler = ddpmSampler(curved(variance), { variance, clip });
          const context = [tf.scalar(0.3)];
          const expected = hostSteps(tables, x, noises, (k, value, { epsilon, v }, z) => {
            const x0 = clipped(hostX0(tables, k, value, epsilon), clip);
            const deviation = Math.exp(hostLogVariance(tables, k, variance, v) / 2);
            return { sample: hostPosteriorMean(tables, k, x0, value) + (k === 0 ? 0 : deviation * z), x0 };
          });
          const steps = [...sampler.steps(tables, x, { context, noise: (i) => noises[i]!.clone() })];
          expect(steps.map(({ k }) => k)).toEqual(expected.map((_, i) => tables.steps - 1 - i));
          steps.forEach(({ sample, x0 }, i) => {
            expectClose(sample.dataSync(), expected[i]!.sample, { max: 1e-4 }, `sample ${i}`);
            expectClose(x0.dataSync(), expected[i]!.x0, { max: 1e-4 }, `x0 ${i}`);
          });
          const sample = sampler.sample(tables, x, { context, noise: (i) => noises[i]!.clone() });
          expectClose(sample, steps.at(-1)!.sample, { max: 1e-6 });
          sampler.dispose();
        });
      }),
      { numRuns: 8 },
    );
  });

  it('with v = 1 keeps the variance 1 of Gaussian data, and the last step leaves the variance α', () => {
    // Without noise a step of the ideal network ε̂ = √(1 - ᾱ)·x is a factor; with it the variance is factor² + σ².
    const tables = respace(full, 20);
    const sampler = ddpmSampler((x, t) => tf.concat([ideal(x, t), tf.onesLike(x)], 3), { variance: 'learned' });
    const x = tf.ones(shape);
    const factors: number[] = [];
    let before = 1;
    for (const { sample } of sampler.steps(tables, x, { noise: () => tf.zeros(shape) })) {
      const value = sample.dataSync()[0]!;
      factors.push(value / before);
      before = value;
    }
    factors.forEach((factor, i) => {
      const k = tables.steps - 1 - i;
      const { beta, alpha } = hostStep(tables, k);
      if (k > 0) expect(Math.abs(factor ** 2 + beta - 1)).toBeLessThan(1e-5);
      else expect(Math.abs(factor ** 2 - alpha)).toBeLessThan(1e-5);
    });
    sampler.dispose();
  });
});

/** E[ε | x] = √(1 - ᾱ_t)·x for data from N(0, I), by the time of the original process. */
function ideal(x: Tensor, t: Tensor): Tensor {
  const table = tf.tensor1d(Float32Array.from(full.sqrtOneMinusAlphaBar));
  return tf.mul(x, tf.reshape(tf.gather(table, tf.cast(t, 'int32')), [-1, 1, 1, 1]));
}

describe('DDIM', () => {
  it.each([
    ['10', 0.814586],
    ['50', 0.963383],
    ['250', 0.992642],
  ] as const)('returns Π cos(θ_k - θ_{k-1}) of what it was given on Gaussian data: %s steps, %d', (setting, published) => {
    const tables = respace(full, setting);
    const angles = [0, ...Array.from(tables.alphaBar, (bar) => Math.acos(Math.sqrt(bar)))];
    const factor = angles.slice(1).reduce((product, angle, k) => product * Math.cos(angle - angles[k]!), 1);
    expect(factor).toBeCloseTo(published, 6);
    const sampler = ddimSampler(ideal, { variance: 'small' });
    const x = new Rng(1).normal(shape);
    expectClose(sampler.sample(tables, x), tf.mul(x, factor), { max: 1e-5 });
    sampler.dispose();
  });

  it('equals float64 at every step, with every η, clipped or not', () => {
    fc.assert(
      fc.property(tablesOf, variances, fc.boolean(), fc.constantFrom(0, 0.4, 1), fc.integer(), (tables, variance, clip, eta, seed) => {
        tf.tidy(() => {
          const rng = new Rng(seed);
          const x = rng.child('x').normal(shape);
          const noises = Array.from({ length: tables.steps - 1 }, (_, i) => rng.child(i).normal(shape));
          const sampler = ddimSampler(curved(variance), { variance, clip, eta });
          const expected = hostSteps(tables, x, noises, (k, value, { epsilon }, z) => {
            const { bar, previous } = hostStep(tables, k);
            const x0 = clipped(hostX0(tables, k, value, epsilon), clip);
            const again = (value - Math.sqrt(bar) * x0) / Math.sqrt(1 - bar);
            const sigma = eta * Math.sqrt((1 - previous) / (1 - bar)) * Math.sqrt(1 - bar / previous);
            const direction = Math.sqrt(Math.max(0, 1 - previous - sigma ** 2));
            return { sample: Math.sqrt(previous) * x0 + direction * again + (k === 0 ? 0 : sigma * z), x0 };
          });
          const noise = eta > 0 ? { noise: (i: number) => noises[i]!.clone() } : {};
          const steps = [...sampler.steps(tables, x, { context: [tf.scalar(0.3)], ...noise })];
          steps.forEach(({ sample, x0 }, i) => {
            expectClose(sample.dataSync(), expected[i]!.sample, { max: 1e-4 }, `sample ${i}`);
            expectClose(x0.dataSync(), expected[i]!.x0, { max: 1e-4 }, `x0 ${i}`);
          });
          sampler.dispose();
        });
      }),
      { numRuns: 8 },
    );
  });

  it('is ancestral sampling with the small variance for η = 1', () => {
    const tables = respace(full, 6);
    const [x, context] = [new Rng(2).normal(shape), [tf.scalar(0.3)]];
    const noise = stepNoise(new Rng(3), shape);
    const [ddim, ddpm] = [ddimSampler(curved('small'), { variance: 'small', eta: 1 }), ddpmSampler(curved('small'), { variance: 'small' })];
    expectClose(ddim.sample(tables, x, { context, noise }), ddpm.sample(tables, x, { context, noise }), { max: 1e-4 });
    for (const sampler of [ddim, ddpm]) sampler.dispose();
  });
});

describe('a sampler', () => {
  it('makes one graph for all steps, tables and contexts of a shape', () => {
    let traces = 0;
    const sampler = ddpmSampler(
      (x: Tensor, t: Tensor, context: Tensor[]) => {
        traces++;
        return curved('small')(x, t, context);
      },
      { variance: 'small' },
    );
    const noise = stepNoise(new Rng(4), shape);
    const x = new Rng(5).normal(shape);
    const results = (
      [
        [4, 0.3],
        [7, 0.3],
        ['2,3', 0.1],
      ] as const
    ).map(([setting, shift]) => sampler.sample(respace(full, setting), x, { context: [tf.scalar(shift)], noise }));
    const wanted = engineName() === 'ort' ? 1 : 0;
    expect(sampler.graphs).toBe(wanted);
    expect(traces).toBe(wanted === 1 ? 1 : 4 + 7 + 5);
    expect(new Set(results.map((result) => result.dataSync()[0])).size).toBe(3);
    sampler.dispose();
    expect(sampler.graphs).toBe(0);
  });

  it('changes none of its arguments and leaves no tensor behind', async () => {
    const tables = respace(full, 3);
    const [x, context] = [new Rng(6).normal(shape), [tf.scalar(0.3)]];
    const noise = stepNoise(new Rng(7), shape);
    const [ddpm, ddim] = [ddpmSampler(curved('learned'), { variance: 'learned' }), ddimSampler(curved('learned'), { variance: 'learned' })];
    const before = Array.from(x.dataSync());
    await expectNoLeak(() => ddpm.sample(tables, x, { context, noise }));
    await expectNoLeak(() => ddim.sample(tables, x, { context }));
    await expectNoLeak(() => {
      for (const { sample, x0 } of ddpm.steps(tables, x, { context, noise })) disposeTree({ sample, x0 });
    });
    await expectNoLeak(() => {
      for (const { sample, x0 } of ddpm.steps(tables, x, { context, noise })) {
        disposeTree({ sample, x0 });
        break;
      }
    });
    await expectNoLeak(() => {
      expect(() => ddpm.sample(tables, x, { context, noise: () => tf.zeros([1]) })).toThrow();
    });
    expect(Array.from(x.dataSync())).toEqual(before);
    expect(context[0]!.isDisposed).toBe(false);
    for (const sampler of [ddpm, ddim]) sampler.dispose();
  });

  it('draws the noise of each step from a separate stream', () => {
    const noise = stepNoise(new Rng(8), [2, 3]);
    const [first, second] = [noise(0), noise(1)];
    expectClose(stepNoise(new Rng(8), [2, 3])(1), second);
    expect(first.dataSync()[0]).not.toBe(second.dataSync()[0]);
  });

  it('refuses what does not fit', () => {
    const network: SamplerNetwork<[]> = (x) => x;
    const tables = respace(full, 2);
    const x = tf.zeros(shape);
    expect(() => ddpmSampler(network, { variance: 'none' as Variance })).toThrow(
      "ddpmSampler: variance: wanted 'learned', 'small' or 'large', got none",
    );
    expect(() => ddimSampler(network, { variance: 'small', eta: 1.5 })).toThrow(
      'ddimSampler: eta: wanted a finite number at least 0 and at most 1, got 1.5',
    );
    expect(() => ddimSampler(network, { variance: 'small', clip: 1 as never })).toThrow('ddimSampler: clip: wanted true or false, got 1');
    const ddpm = ddpmSampler(network, { variance: 'small' });
    expect(() => ddpm.sample(tables, x)).toThrow('ddpmSampler: noise: wanted a function of the step, got none');
    expect(() => ddpm.sample(tables, x, { noise: () => tf.zeros([2, 2, 3, 1]) })).toThrow(
      'ddpmSampler: noise: wanted shape [2, 2, 3, 3], got [2, 2, 3, 1]',
    );
    expect(() => ddpm.sample(tables, tf.zeros([4]), { noise: () => tf.zeros([4]) })).toThrow(
      'ddpmSampler: x: wanted a batch [B, …] of rank 2 or more, got [4]',
    );
    const learned = ddimSampler(network, { variance: 'learned' });
    expect(() => learned.sample(tables, x)).toThrow(
      'ddimSampler: output of the network: wanted shape [2, 2, 3, 6] (ε̂ and v), got [2, 2, 3, 3]',
    );
    expect(() => [...learned.steps(tables, x)]).toThrow('ddimSampler: output of the network');
  });
});
