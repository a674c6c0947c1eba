import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { chunkPlan, guidanceFactors, guidanceScales, plannedForwards, warpTime, type ChunkRequest } from '../src/index.ts';
import { gaussianVelocity } from './parity/generation.ts';
import { runTransport } from './parity/schedules.ts';

beforeAll(async () => void (await useEngine('cpu')));

describe('the schedule', () => {
  const plans = fc
    .record({ window: fc.integer({ min: 1, max: 4 }), perStage: fc.integer({ min: 1, max: 3 }), chunks: fc.integer({ min: 1, max: 7 }) })
    .map(({ window, perStage, chunks }) => ({
      chunks,
      chunkFrames: 1,
      window,
      steps: window * perStage,
      history: [4],
      cleanHistory: 1 as const,
    }));
  const z = (chunks: number): Tensor => new Rng('plan').normal([1, chunks, 1, 1, 4]);

  it('takes every step of every chunk once, in at most W + 1 chunks a call', () => {
    fc.assert(
      fc.property(plans, fc.integer({ min: 0, max: 3 }), (settings, given) => {
        const o = Math.min(given, settings.chunks - 1);
        const plan = chunkPlan({ ...settings, prefixFrames: o });
        const forwards = [...plannedForwards(plan)];
        const { perStage: q, chunks: n, window: W, steps: S } = plan;
        expect(forwards).toHaveLength(q * (n - o + W - 1));
        const steps = forwards.flatMap(({ active }) => active.map(({ chunk, step }) => `${chunk}:${step}`));
        expect(new Set(steps).size).toBe(steps.length);
        expect(steps).toHaveLength((n - o) * S);
        expect(forwards.filter(({ clean }) => clean)).toHaveLength(n - o - 1);
        for (const { clean, active, finishes, index, cachedFrom } of forwards) {
          expect(active.length + (clean ? 1 : 0)).toBeLessThanOrEqual(W + 1);
          if (finishes !== undefined) expect(index).toBe((finishes - o) * q + S - 1);
          expect((clean ?? active[0]!).chunk - cachedFrom).toBeLessThanOrEqual(plan.cacheChunks);
          // Earlier chunks are cleaner.
          for (let i = 1; i < active.length; i++) expect(active[i]!.t).toBeLessThan(active[i - 1]!.t);
        }
      }),
    );
  });

  it('needs the same forwards a chunk and the same cache for short and long videos', () => {
    const shapes = [4, 40].map((chunks) => {
      const plan = chunkPlan({ chunks, chunkFrames: 6, window: 4, steps: 8 });
      const calls = [...plannedForwards(plan)].map(({ active, clean, cachedFrom }) => (clean ?? active[0]!).chunk - cachedFrom);
      return [plan.cacheChunks, Math.max(...calls)];
    });
    expect(shapes).toEqual([
      [3, 1],
      [4, 1],
    ]);
  });

  it('adds a constant velocity for the whole of the time', () => {
    fc.assert(
      fc.property(plans, (settings) =>
        tf.tidy(() => {
          const noise = z(settings.chunks);
          const out = runTransport(chunkPlan(settings), noise, ({ active }) => active.map((x) => tf.onesLike(x)));
          expectClose(out, tf.add(noise, 1), { abs: 1e-5 });
        }),
      ),
      { numRuns: 20 },
    );
  });

  it('gives the same video for every window where chunks do not see each other, and ends at the data of a straight flow', () => {
    fc.assert(
      fc.property(plans, (settings) =>
        tf.tidy(() => {
          const noise = z(settings.chunks);
          const local = ({ active, forward }: ChunkRequest) => active.map((x, i) => tf.sub(tf.sin(x), forward.active[i]!.t));
          const one = runTransport(chunkPlan({ ...settings, window: 1 }), noise, local);
          expectClose(runTransport(chunkPlan(settings), noise, local), one, { abs: 1e-5 });
          const straight = ({ active, forward }: ChunkRequest) => active.map((x, i) => tf.div(tf.sub(2, x), 1 - forward.active[i]!.t));
          expectClose(runTransport(chunkPlan(settings), noise, straight), tf.fill(noise.shape, 2), { abs: 1e-4 });
        }),
      ),
      { numRuns: 20 },
    );
  });

  it('makes the known error on a Gaussian chunk', () => {
    const variances = [4, 8, 16, 32, 64, 256].map((steps) => {
      const plan = chunkPlan({ chunks: 1, chunkFrames: 1, window: 1, steps, history: [] });
      const velocity = ({ active, forward }: ChunkRequest) => {
        const { t } = forward.active[0]!;
        return [tf.mul(active[0]!, (2 * t - 1) / (t * t + (1 - t) ** 2))];
      };
      return tf.tidy(() => runTransport(plan, tf.ones([1, 1, 1, 1, 1]), velocity).dataSync()[0]! ** 2);
    });
    expectClose(variances, [0.140943, 0.427971, 0.66749, 0.818689, 0.90504, 0.975383], { abs: 1e-5 });
  });

  it('is biased on a Gaussian process of chunks if it denoises several at a time, by the known amount', () => {
    const errorOf = (window: number, steps: number): number =>
      tf.tidy(() => {
        const plan = chunkPlan({ chunks: 6, chunkFrames: 1, window, steps, history: [], cleanHistory: 1 });
        const unit = tf.reshape(tf.eye(6), [1, 6, 1, 1, 6]);
        const M = tf.reshape(runTransport(plan, unit, gaussianVelocity(0.9, 1)), [6, 6]);
        const truth = tf.tensor2d(Array.from({ length: 36 }, (_, i) => 0.9 ** Math.abs(Math.floor(i / 6) - (i % 6))), [6, 6]); // prettier-ignore
        return tf.div(tf.norm(tf.sub(tf.matMul(M, M, false, true), truth)), tf.norm(truth)).dataSync()[0]!;
      });
    expectClose([errorOf(1, 8), errorOf(1, 16), errorOf(1, 64)], [0.6447, 0.3977, 0.1185], { abs: 5e-4 });
    expectClose([errorOf(2, 8), errorOf(2, 16), errorOf(2, 64)], [0.6476, 0.4072, 0.1392], { abs: 5e-4 });
    expectClose([errorOf(4, 8), errorOf(4, 16), errorOf(4, 64)], [0.6581, 0.4399, 0.2083], { abs: 5e-4 });
  });

  it('warps time as the paper says', () => {
    expectClose([0.25, 0.5, 0.75].map((u) => warpTime(u)), [1 / 46, 0.1, 0.3], { abs: 1e-7 }); // prettier-ignore
    const table = [0, 0.00526316, 0.0217391, 0.0517241, 0.1, 0.1760563, 0.3, 0.5212766, 1];
    expectClose(chunkPlan({ chunks: 1, chunkFrames: 1, steps: 8 }).times.t, table, { abs: 1e-7 });
    for (const t of [0, 0.1, 0.5, 1]) expect(warpTime(Math.sqrt((3 * t) / (1 + 2 * t)))).toBeCloseTo(t, 12);
  });
});

describe('guidance', () => {
  it('is a mean of the branches that falls back to one of them', () => {
    fc.assert(
      fc.property(fc.double({ min: -5, max: 5, noNaN: true }), fc.double({ min: -5, max: 5, noNaN: true }), (previous, text) => {
        const factors = guidanceFactors({ previous, text });
        expect(factors[0] + factors[1] + factors[2]).toBeCloseTo(1, 10);
      }),
    );
    expect(guidanceFactors({ previous: 1, text: 1 })).toEqual([0, 0, 1]);
    expect(guidanceFactors({ previous: 1, text: 0 })).toEqual([0, 1, 0]);
    expect(guidanceFactors({ previous: 0, text: 0 })).toEqual([1, 0, 0]);
  });

  it('takes the scales above an edge, at the edge too', () => {
    for (const [i, edge] of [0.0217, 0.1, 0.3, 0.999].entries()) {
      const settings = { previous: [0, 1, 2, 3, 4], text: [0, 1, 2, 3, 4] };
      expect(guidanceScales(edge, settings)).toEqual({ previous: i + 1, text: i + 1 });
      expect(guidanceScales(edge - 1e-5, settings)).toEqual({ previous: i, text: i });
    }
  });
});
