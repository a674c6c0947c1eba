import { Rng, tf, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { everyEngine } from '@atelier/testkit/vitest';
import { expect, it } from 'vitest';
import {
  drawEdm,
  edmCoefficients,
  edmDenoiser,
  edmLoss,
  edmSampler,
  edmWeight,
  karrasSigma,
  karrasSigmas,
  lognormalSigma,
  stepNoise,
} from '../src/index.ts';

/** The exact denoiser of N(mean, std²): mean + std²/(std² + σ²)·(x - mean). */
const gaussian =
  (mean: number, std: number) =>
  (x: Tensor, sigma: Tensor): Tensor => {
    const keep = tf.reshape(tf.div(std ** 2, tf.add(tf.square(sigma), std ** 2)), [-1, 1, 1]);
    return tf.add(mean, tf.mul(tf.sub(x, mean), keep));
  };

everyEngine(() => {
  it('spaces levels as the paper does', () => {
    const sigmas = karrasSigmas(18);
    expect(sigmas).toHaveLength(19);
    // By hand: the ends, and level 1 of 18.
    expect(sigmas[0]).toBeCloseTo(80, 10);
    expect(sigmas[1]).toBeCloseTo((80 ** (1 / 7) + (0.002 ** (1 / 7) - 80 ** (1 / 7)) / 17) ** 7, 10);
    expect(sigmas[17]).toBeCloseTo(0.002, 12);
    expect(sigmas[18]).toBe(0);
    expectClose(karrasSigma(tf.tensor1d([0, 16 / 17, 1])), [0.002, sigmas[1]!, 80], { rel: 1e-5 });
    expect(karrasSigmas(1)).toEqual([karrasSigmas(2)[0], 0]);
    expectClose(lognormalSigma(tf.tensor1d([0, 1, -2])), [-1.2, 0, -3.6].map(Math.exp), { rel: 1e-5 });
  });

  it('preconditions: unit input, identity without noise, the same error everywhere', () => {
    const sigma = tf.tensor1d([0.002, 0.5, 3, 80]);
    const c = edmCoefficients(sigma, 0.5);
    // Var(c_in·x) = c_in²(σ_d² + σ²) = 1, and λ·c_out² = 1.
    expectClose(tf.mul(tf.square(c.in), tf.add(tf.square(sigma), 0.25)), [1, 1, 1, 1], { rel: 1e-5 });
    expectClose(tf.mul(edmWeight(sigma, 0.5), tf.square(c.out)), [1, 1, 1, 1], { rel: 1e-5 });
    expectClose(
      c.noise,
      [0.002, 0.5, 3, 80].map((s) => Math.log(s) / 4),
      { rel: 1e-5 },
    );
    const x = new Rng('x').normal([4, 2, 3]);
    const silent = edmDenoiser((input) => tf.zerosLike(input))(x, sigma);
    expectClose(silent, tf.mul(x, tf.reshape(c.skip, [4, 1, 1])), { rel: 1e-5 });
  });

  it('has a loss of 0 for a denoiser that knows, and the paper’s value for one that does not', () => {
    const x = new Rng('data').normal([3, 2, 2]);
    const { e, sigma } = drawEdm(new Rng('draws'), [3, 2, 2]);
    expect(edmLoss(() => x, { x, e, sigma }).loss.dataSync()[0]).toBe(0);
    const none = edmLoss(() => tf.zerosLike(x), { x, e, sigma });
    const [data, levels] = [x.dataSync<'float32'>(), sigma.dataSync<'float32'>()];
    const wanted =
      data.reduce(
        (sum, value, i) => sum + ((levels[Math.floor(i / 4)]! ** 2 + 0.25) / (levels[Math.floor(i / 4)]! * 0.5) ** 2) * value ** 2,
        0,
      ) / 3;
    expectClose(none.loss.dataSync(), [wanted], { rel: 1e-5 });
  });

  it('carries noise to a Gaussian: exactly known for Euler, to second order for Heun', () => {
    const [mean, std, steps] = [0.3, 0.5, 40];
    const z = new Rng('z').normal([64, 2, 2]);
    const sigmas = karrasSigmas(steps);
    const denoiser = gaussian(mean, std);
    const euler = edmSampler(denoiser, { method: 'euler' });
    // dx/dσ = (x - mean)σ/(std² + σ²), one factor a step.
    const factor = sigmas.slice(0, -1).reduce((f, s, i) => f * (1 + ((sigmas[i + 1]! - s) * s) / (std ** 2 + s ** 2)), 1);
    const fromMean = tf.sub(tf.mul(z, sigmas[0]!), mean);
    const wanted = tf.add(mean, tf.mul(fromMean, factor));
    expectClose(euler.sample([], z, { sigmas }), wanted, { max: 2e-5 }, 'Euler');
    const exact = tf.add(mean, tf.mul(fromMean, std / Math.hypot(std, sigmas[0]!)));
    const error = (sampler: ReturnType<typeof edmSampler>, n: number): number =>
      tf.max(tf.abs(tf.sub(sampler.sample([], z, { sigmas: karrasSigmas(n) }), exact))).dataSync()[0]!;
    const heun = edmSampler(denoiser);
    const [coarse, fine] = [error(heun, 20), error(heun, 40)];
    expect(coarse / fine).toBeGreaterThan(3);
    expect(fine).toBeLessThan(error(euler, 40) / 4);
    euler.dispose();
    heun.dispose();
  });

  it('churns without leaving the Gaussian, and only where it is told to', async () => {
    const [mean, std] = [-0.2, 0.5];
    const shape = [2048, 1, 2];
    const z = new Rng('z').normal(shape);
    const noisy = edmSampler(gaussian(mean, std), { churn: 20 });
    const noise = stepNoise(new Rng('fresh'), shape);
    const x = noisy.sample([], z, { sigmas: karrasSigmas(30), noise });
    const { mean: got, variance } = tf.moments(x);
    const n = 4096;
    expect(Math.abs(got.dataSync()[0]! - mean)).toBeLessThan((4 * std) / Math.sqrt(n));
    expect(Math.abs(variance.dataSync()[0]! - std ** 2)).toBeLessThan(4 * std ** 2 * Math.sqrt(2 / n) + 0.01);
    const still = edmSampler(gaussian(mean, std));
    const outside = edmSampler(gaussian(mean, std), { churn: 20, churnMin: 1e3 });
    const sigmas = karrasSigmas(5);
    const wanted = still.sample([], z, { sigmas });
    expectClose(outside.sample([], z, { sigmas, noise }), wanted, { max: 1e-6 }, 'churn outside the levels');
    const passed = [...still.steps([], z, { sigmas })];
    expect(passed.map(({ sigma }) => sigma)).toEqual(sigmas.slice(1));
    expectClose(passed.at(-1)!.x, wanted, { max: 0 }, 'the last step');
    expect(noisy.graphs).toBeLessThanOrEqual(2);
    await expectNoLeak(() => noisy.sample([], z, { sigmas: karrasSigmas(3), noise }));
    await expectNoLeak(() => {
      // Whoever steps may stop.
      for (const step of noisy.steps([], z, { sigmas: karrasSigmas(3), noise })) return step.x;
      throw new Error('no step');
    });
    for (const sampler of [noisy, still, outside]) sampler.dispose();
  });

  it('refuses what does not fit, in one sentence', () => {
    const z = tf.zeros([2, 1, 1]);
    const sampler = edmSampler(gaussian(0, 1), { churn: 1 });
    expect(() => sampler.sample([], z, { sigmas: [1, 0] })).toThrow('edmSampler: options.noise: wanted a function of the step, got none');
    expect(() => sampler.sample([], z, { sigmas: [1, 2, 0] })).toThrow(
      'edmSampler: sigmas: wanted at least two strictly decreasing levels with 0 at the end',
    );
    expect(() => sampler.sample([], z, { sigmas: [1, 0.5] })).toThrow('got [1, 0.5]');
    expect(() => edmSampler(gaussian(0, 1), { churn: -1 })).toThrow('churn: wanted a finite number at least 0');
    expect(() => karrasSigmas(0)).toThrow('karrasSigmas: steps: wanted an integer at least 1, got 0');
    expect(() => karrasSigmas(3, { min: 2, max: 1 })).toThrow('karrasSigmas: max');
    expect(() => edmLoss((x) => x, { x: z, e: z, sigma: tf.zeros([3]) })).toThrow('edmLoss: sigma: wanted shape [B=2]');
    expect(() => edmDenoiser((x) => tf.sum(x))(z, tf.ones([2]))).toThrow('edmDenoiser: output of the network: wanted shape [2, 1, 1]');
  });
});
