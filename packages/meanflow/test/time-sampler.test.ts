import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  bernoulliTimes,
  drawTimes,
  equalPrefix,
  movingRows,
  prefixTimes,
  sampleTimes,
  separateTimes,
  timesFromDraws,
  timeSamplers,
  type TimeSamplerConfig,
} from '../src/index.ts';
import { timeFromDraw, type TimeDistribution } from '@atelier/diffusion';

const values = (times: { t: Tensor; r: Tensor }): { t: number[]; r: number[] } => ({
  t: Array.from(times.t.dataSync()),
  r: Array.from(times.r.dataSync()),
});
const share = (flags: boolean[]): number => flags.filter(Boolean).length / flags.length;
const phi = (x: number): number => {
  // Integral of the normal density by Simpson's rule.
  const n = 2000;
  const f = (z: number): number => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  const step = (x + 10) / n;
  return (
    Array.from({ length: n + 1 }, (_, i) => f(-10 + i * step) * (i === 0 || i === n ? 1 : i % 2 === 1 ? 4 : 2)).reduce((a, b) => a + b) *
    (step / 3)
  );
};

beforeAll(async () => {
  await useEngine();
});

describe('invariant 12: times', () => {
  const distribution: fc.Arbitrary<TimeDistribution> = fc.oneof(
    fc.constant({ kind: 'uniform' as const }),
    fc.record({
      kind: fc.constant('logit-normal' as const),
      mean: fc.double({ min: -3, max: 2, noNaN: true }),
      std: fc.double({ min: 0.1, max: 3, noNaN: true }),
    }),
  );
  const part = fc.double({ min: 0, max: 1, noNaN: true });
  const pair = { t: distribution, r: distribution };
  const config: fc.Arbitrary<TimeSamplerConfig> = fc.oneof(
    fc.record({ rule: fc.constant('prefix' as const), ...pair, equalShare: part }),
    fc.record({ rule: fc.constant('bernoulli' as const), ...pair, movingShare: part }),
    fc.record({ rule: fc.constant('separate' as const), ...pair, movingShare: part }),
  );

  it('lie in [0, 1] with r <= t under every rule, and only rows in movingRows may move', () => {
    fc.assert(
      fc.property(config, fc.integer({ min: 1, max: 40 }), fc.integer(), (sampler, batch, seed) => {
        const { t, r } = values(sampleTimes(new Rng(seed), batch, sampler));
        const [start, end] = movingRows(sampler, batch) ?? [0, batch];
        expect(t).toHaveLength(batch);
        t.forEach((ti, i) => {
          expect(r[i]! >= 0 && r[i]! <= ti && ti <= 1).toBe(true);
          if (i < start || i >= end) expect(r[i]).toBe(ti);
        });
      }),
      { numRuns: 40 },
    );
  });

  it('of the prefix rule have r = t in exactly the first floor(B·equalShare) rows', () => {
    for (const [batch, equalShare] of [
      [33, 0.75],
      [30, 0.5],
      [16, 0],
      [7, 1],
      [64, 0.75],
    ] as const) {
      const sampler = { ...timeSamplers.imagenet, equalShare };
      const { t, r } = values(sampleTimes(new Rng('prefix'), batch, sampler));
      const equal = t.map((ti, i) => ti === r[i]);
      expect(equal).toEqual(t.map((_, i) => i < Math.floor(batch * equalShare)));
    }
  });

  it('of the Bernoulli rule have r < t with the probability movingShare', () => {
    const n = 40_000;
    for (const movingShare of [0.25, 0.75]) {
      const { t, r } = values(sampleTimes(new Rng('bernoulli'), n, { ...timeSamplers.cifar, movingShare }));
      const moved = share(t.map((ti, i) => r[i]! < ti));
      expect(Math.abs(moved - movingShare)).toBeLessThan(4 * Math.sqrt((movingShare * (1 - movingShare)) / n));
    }
  });

  it('from separate distributions have r < t with the probability movingShare·P(r < t), and t keeps its distribution', () => {
    const n = 40_000;
    const { t: lawT, r: lawR, movingShare } = timeSamplers.cifarImproved;
    const wanted = movingShare * phi((lawT.mean - lawR.mean) / Math.hypot(lawT.std, lawR.std));
    const { t, r } = values(sampleTimes(new Rng('separate'), n, timeSamplers.cifarImproved));
    expect(Math.abs(share(t.map((ti, i) => r[i]! < ti)) - wanted)).toBeLessThan(4 * Math.sqrt((wanted * (1 - wanted)) / n));
    // The median of the logit is the mean of the law.
    const below = share(t.map((ti) => Math.log(ti / (1 - ti)) < lawT.mean));
    expect(Math.abs(below - 0.5)).toBeLessThan(4 * Math.sqrt(0.25 / n));
  });

  it('have r = t in all rows if movingShare is 0, and r < t in nearly all rows if it is 1', () => {
    for (const sampler of [
      { ...timeSamplers.cifar, movingShare: 0 },
      { ...timeSamplers.cifarImproved, movingShare: 0 },
      { ...timeSamplers.imagenet, equalShare: 1 },
    ]) {
      const { t, r } = values(sampleTimes(new Rng('equal'), 200, sampler));
      expect(t).toEqual(r);
    }
    const { t, r } = values(sampleTimes(new Rng('moving'), 200, { ...timeSamplers.cifar, movingShare: 1 }));
    expect(t.every((ti, i) => r[i]! < ti)).toBe(true);
  });

  it('depend only on the seed', () => {
    const draw = (seed: string): { t: number[]; r: number[] } => values(sampleTimes(new Rng(seed), 32, timeSamplers.cifar));
    expect(draw('a')).toEqual(draw('a'));
    expect(draw('a')).not.toEqual(draw('b'));
  });
});

describe('bad input', () => {
  const normals = (n: number): Tensor => tf.zeros([n]);
  const { t, r } = timeSamplers.cifar;

  it.each([
    ['a draw of the wrong rank', () => timeFromDraw(tf.zeros([2, 2]), t), /timeFromDraw: draw: wanted shape \[B\], got \[2, 2\]/],
    ['a share above 1', () => equalPrefix(4, 1.5), /equalPrefix: equalShare: wanted a number in \[0, 1\], got 1.5/],
    [
      'draws of different lengths',
      () => prefixTimes({ t: normals(3), r: normals(4) }, { t, r, equalShare: 0.5 }),
      /draws\.r: wanted shape \[B=3\], got \[4\]/,
    ],
    [
      'a missing uniform',
      () => bernoulliTimes({ t: normals(3), r: normals(3) }, { t, r, movingShare: 0.5 }),
      /draws\.equal: wanted uniforms \[3\], got undefined/,
    ],
    [
      'a share that is no number',
      () => separateTimes({ t: normals(3), r: normals(3), equal: normals(3) }, { t, r, movingShare: NaN }),
      /movingShare: wanted a number in \[0, 1\], got NaN/,
    ],
    ['an unknown rule', () => timesFromDraws({ t: normals(3), r: normals(3) }, { rule: 'other' } as never), /timesFromDraws: rule/],
    [
      'a negative spread',
      () => timesFromDraws({ t: normals(3), r: normals(3) }, { ...timeSamplers.imagenet, t: { kind: 'logit-normal', mean: 0, std: -1 } }),
      /timesFromDraws: t\.std/,
    ],
    ['a batch of 0', () => drawTimes(new Rng(0), 0, timeSamplers.cifar), /drawTimes: batch: wanted a whole number of at least 1, got 0/],
    ['a batch that is no whole number', () => sampleTimes(new Rng(0), 2.5, timeSamplers.cifar), /got 2.5/],
  ])('%s is refused', (_, call, message) => expect(call).toThrow(message));
});
