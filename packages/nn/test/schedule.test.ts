import { describe, expect, it } from 'vitest';
import { constant, cosine, emaEvery, emaWarmUp, linearDecay, warmUp } from '../src/index.ts';

describe('learning-rate schedules', () => {
  it('constant', () => expect([0, 7, 1e6].map(constant(3e-4))).toEqual([3e-4, 3e-4, 3e-4]));

  it('cosine from peak to floor, then floor', () => {
    const schedule = cosine(1, 100, 0.2);
    [1, 0.2 + 0.8 * 0.5 * (1 + Math.SQRT1_2), 0.6, 0.2, 0.2].forEach((value, i) =>
      expect(schedule([0, 25, 50, 100, 400][i]!)).toBeCloseTo(value, 12),
    );
  });

  it('linear decay from peak to floor, then floor', () => {
    const schedule = linearDecay(2e-3, 600);
    [2e-3, 1e-3, 0, 0].forEach((value, i) => expect(schedule([0, 300, 600, 900][i]!)).toBeCloseTo(value, 12));
  });

  it('warm-up from `start` to the schedule that follows, which then counts from 0', () => {
    const schedule = warmUp(10, linearDecay(1, 20), 0.5);
    [0.5, 0.75, 1, 0.5, 0].forEach((value, i) => expect(schedule([0, 5, 10, 20, 30][i]!)).toBeCloseTo(value, 12));
    expect(warmUp(0, constant(2))(0)).toBe(2);
    expect(warmUp(4, constant(2))(1)).toBe(0.5);
  });

  it('refuse what does not fit', () => {
    expect(() => constant(NaN)).toThrow('constant: value: wanted a finite number, got NaN');
    expect(() => cosine(1, 0)).toThrow('cosine: steps: wanted an integer at least 1, got 0');
    expect(() => linearDecay(Infinity, 10)).toThrow('linearDecay: peak: wanted a finite number, got Infinity');
    expect(() => linearDecay(1, 10, NaN)).toThrow('linearDecay: floor: wanted a finite number, got NaN');
    expect(() => warmUp(-1, constant(1))).toThrow('warmUp: steps: wanted an integer at least 0, got -1');
    expect(() => warmUp(1, constant(1), NaN)).toThrow('warmUp: start: wanted a finite number, got NaN');
  });
});

describe('EMA decays', () => {
  it('warm up by (i + 1) / (i + 10)', () => {
    expect([0, 9, 1e6].map(emaWarmUp(0.999))).toEqual([0.1, 10 / 19, 0.999]);
  });

  it('are decay^16 at every 16th update and 1 between', () => {
    const schedule = emaEvery(0.9, 16);
    expect(Array.from({ length: 32 }, (_, i) => schedule(i)).map((d) => d !== 1)).toEqual(
      Array.from({ length: 32 }, (_, i) => i === 15 || i === 31),
    );
    expect(schedule(15)).toBe(0.9 ** 16);
    expect(emaEvery(0.9, 1)(0)).toBe(0.9);
  });

  it('refuse what does not fit', () => {
    expect(() => emaWarmUp(1.5)).toThrow('emaWarmUp: decay: wanted a finite number at least 0 and at most 1, got 1.5');
    expect(() => emaEvery(-1, 16)).toThrow('emaEvery: decay: wanted a finite number at least 0 and at most 1, got -1');
    expect(() => emaEvery(0.9, 0)).toThrow('emaEvery: period: wanted an integer at least 1, got 0');
  });
});
