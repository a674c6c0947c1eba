import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  drawChunkTimes,
  drawDistillation,
  drawTraining,
  historyRows,
  shortcutTarget,
  stepCode,
  type TimeLawSettings,
} from '../src/index.ts';

beforeAll(async () => void (await useEngine('cpu')));

describe('laws of times', () => {
  const draw = (law: TimeLawSettings, more = {}) =>
    drawChunkTimes(new Rng('times'), { clips: 5000, chunks: 4, cleanProbability: 0, ...more }, law);

  it('have the published density', () => {
    const { t } = draw({ kind: 'independent' });
    const below = t.filter((x) => x < 0.3).length / t.length;
    expect(Math.abs(below - 0.692387)).toBeLessThan(4 * Math.sqrt((0.692 * 0.308) / t.length));
    const sorted = t.slice().sort();
    // The density at the median is 0.25·0.75·… of the logit's; 4 sigma of the median are about 0.01 here.
    expect(Math.abs(sorted[t.length / 2]! - 0.25)).toBeLessThan(0.01);
    expect(Math.abs(t.reduce((a, b) => a + b) / t.length - 0.2608)).toBeLessThan(0.005);
  });

  it('are in order where they should be, and clean chunks come first', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('sorted', 'window', 'shared' as const),
        fc.integer({ min: 1, max: 6 }),
        fc.integer(),
        (kind, chunks, seed) => {
          const { t, clean, counted } = drawChunkTimes(new Rng(String(seed)), { clips: 20, chunks }, { kind } as TimeLawSettings);
          for (let i = 0; i < t.length; i++) {
            const j = i % chunks;
            if (j > 0 && clean[i] === 0) expect(t[i]).toBeLessThanOrEqual(clean[i - 1] === 1 ? 1 : t[i - 1]!);
            if (j > 0 && clean[i] === 1) expect(clean[i - 1]).toBe(1);
            if (clean[i] === 1) expect(t[i]! >= 0.95 - 1e-6 && t[i]! <= 1 && counted[i] === 0).toBe(true);
          }
          // The last chunk is never only context, so every clip has a loss.
          for (let row = 0; row < 20; row++) expect(counted.subarray(row * chunks, (row + 1) * chunks).includes(1)).toBe(true);
        },
      ),
    );
  });

  it('take the steps of the sampler', () => {
    const { t, counted } = draw({ kind: 'window', window: 2 });
    for (let i = 0; i < t.length; i += 4)
      for (let j = 1; j < 4; j++)
        if (counted[i + j] === 1 && counted[i + j - 1] === 1) expect(t[i + j]! < 0.1 + 1e-6 && t[i + j - 1]! >= 0.1 - 1e-6).toBe(true);
  });

  it('draw a batch whose chunks without text are the clean ones, those that see only themselves, and some more', () => {
    tf.tidy(() => {
      const settings = { aloneShare: 0.25, textDropout: 0.5, ranges: [0, 2], firstFrameProbability: 0.5 };
      const { dropped, clean, given, e } = drawTraining(new Rng('batch'), [40, 6, 2, 2, 1], 3, settings);
      const [d, c, g] = [dropped.dataSync(), clean.dataSync(), given.dataSync()];
      expect(e.shape).toEqual([40, 6, 2, 2, 1]);
      for (let i = 0; i < d.length; i++) if (c[i] === 1 || i < 30) expect(d[i]).toBe(1);
      expect(d.slice(30).includes(0)).toBe(true);
      for (let row = 0; row < 40; row++) if (c[row * 3] === 1) expect(g[row * 6]).toBe(0);
      expect(g.includes(1)).toBe(true);
      expect(historyRows(40, settings)).toEqual([
        { rows: 10, range: 1 },
        { rows: 15, range: 0 },
        { rows: 15, range: 2 },
      ]);
    });
  });
});

describe('shortcut distillation', () => {
  const perFrame = (t: Tensor): Tensor => tf.reshape(t, [1, 2, 1, 1, 1]);

  it('has a target that is exact for the flow of dx/dt = a·x, also for unequal steps', () => {
    fc.assert(
      fc.property(
        fc.double({ min: -2, max: 2, noNaN: true }).filter((a) => Math.abs(a) > 1e-2),
        fc.double({ min: 0.1, max: 0.9, noNaN: true }),
        (a, share) => {
          tf.tidy(() => {
            const x = tf.reshape(tf.tensor1d([1.5, -0.5]), [1, 2, 1, 1, 1]);
            const times = [0.1, 0.1 + 0.3 * share, 0.4].map((t) => tf.tensor2d([[t, t]])) as [Tensor, Tensor, Tensor];
            const flow = (z: Tensor, from: Tensor, to: Tensor): Tensor => {
              const dt = perFrame(tf.sub(to, from));
              return tf.div(tf.mul(z, tf.sub(tf.exp(tf.mul(dt, a)), 1)), dt);
            };
            const network = (z: Tensor, t: Tensor): Tensor =>
              flow(z, t, t.dataSync()[0]! < times[1].dataSync()[0]! - 1e-6 ? times[1] : times[2]);
            expectClose(shortcutTarget(network, x, times, tf.zeros([1, 2])), flow(x, times[0], times[2]), { abs: 1e-5 });
          });
        },
      ),
    );
  });

  it('has the velocity itself as the target of a straight flow, and nothing where a chunk does not move', () => {
    tf.tidy(() => {
      const x = tf.ones([1, 2, 1, 1, 1]) as Tensor;
      const times = [[0.1, 0.9999], [0.2, 0.9999], [0.4, 0.9999]].map((t) => tf.tensor2d([t])) as [Tensor, Tensor, Tensor]; // prettier-ignore
      expectClose(
        shortcutTarget((z) => tf.mul(tf.onesLike(z), 3), x, times, tf.zeros([1, 2])),
        [3, 0],
        { abs: 1e-5 },
      );
    });
  });

  it('draws clips as they stand in the sampler', () => {
    tf.tidy(() => {
      const { t0, t1, t2, clean, counted, factors } = drawDistillation(new Rng('draw'), { clips: 50, chunks: 5, window: 4, steps: 8 });
      const [a, b, c] = [t0, t1, t2].map((t) => t.dataSync()) as [Float32Array, Float32Array, Float32Array];
      const [fixed, used] = [clean.dataSync(), counted.dataSync()];
      for (let i = 0; i < a.length; i++) {
        expect(a[i]! <= b[i]! && b[i]! <= c[i]!).toBe(true);
        if (used[i] === 1) expect(c[i]! > a[i]!).toBe(true);
        expect(fixed[i]! + used[i]!).toBeLessThanOrEqual(1);
      }
      expectClose(tf.sum(factors, 0), tf.ones([50, 5]), { abs: 1e-5 });
      expect([64, 8].map(stepCode)).toEqual([32, 4]);
    });
  });
});
