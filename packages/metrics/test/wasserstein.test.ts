import { Rng } from '@atelier/tensor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { slicedWasserstein, wasserstein1d } from '../src/index.ts';

const number = fc.double({ min: -10, max: 10, noNaN: true });
const numbers = fc.array(number, { minLength: 1, maxLength: 12 }).map((values) => Float64Array.from(values));
const order = fc.constantFrom(1, 2, 3.5);

/** The coupling of equal quantiles by repeating each a |b| times and each b |a| times. */
function bruteForce(a: Float64Array, b: Float64Array, p: number): number {
  const repeat = (values: Float64Array, times: number): number[] =>
    [...values].flatMap((v) => Array<number>(times).fill(v)).sort((x, y) => x - y);
  const [x, y] = [repeat(a, b.length), repeat(b, a.length)];
  return (x.reduce((sum, v, i) => sum + Math.abs(v - y[i]!) ** p, 0) / x.length) ** (1 / p);
}

describe('wasserstein1d', () => {
  it('joins equal quantiles, also for unequal counts', () => {
    fc.assert(
      fc.property(numbers, numbers, order, (a, b, p) => {
        expect(wasserstein1d(a, b, p)).toBeCloseTo(bruteForce(a, b, p), 9);
      }),
    );
  });

  it('is the shift of a shifted set, scales with the sets, and does not see the order of the samples', () => {
    fc.assert(
      fc.property(numbers, number, order, (a, shift, p) => {
        expect(
          wasserstein1d(
            a,
            a.map((v) => v + shift),
            p,
          ),
        ).toBeCloseTo(Math.abs(shift), 9);
        expect(wasserstein1d(a, a.slice().reverse(), p)).toBe(0);
        expect(
          wasserstein1d(
            a.map((v) => 3 * v),
            Float64Array.of(3 * shift),
            p,
          ),
        ).toBeCloseTo(3 * wasserstein1d(a, Float64Array.of(shift), p), 8);
      }),
    );
  });

  it('is a metric: symmetric, with the triangle inequality', () => {
    fc.assert(
      fc.property(numbers, numbers, numbers, order, (a, b, c, p) => {
        expect(wasserstein1d(a, b, p)).toBeCloseTo(wasserstein1d(b, a, p), 9);
        expect(wasserstein1d(a, c, p)).toBeLessThanOrEqual(wasserstein1d(a, b, p) + wasserstein1d(b, c, p) + 1e-9);
      }),
    );
  });

  it('of N(0, 1) and N(1, 2²) is sqrt((0 - 1)² + (1 - 2)²)', () => {
    const rng = new Rng(1);
    const wide = rng.normals(30_000).map((v) => 1 + 2 * v);
    expect(wasserstein1d(rng.normals(40_000), wide)).toBeCloseTo(Math.SQRT2, 1);
  });

  it('does not change its arguments', () => {
    const a = Float64Array.of(3, 1, 2);
    wasserstein1d(a, Float64Array.of(0));
    expect([...a]).toEqual([3, 1, 2]);
  });
});

describe('slicedWasserstein', () => {
  const points = (seed: number, n: number, dim: number) => new Rng(seed).normals(n * dim);

  it('of a set and the same set shifted depends only on the shift and the directions, not on the set', () => {
    const shift = Float64Array.of(0.5, -1, 2);
    const a = Float64Array.from(points(1, 200, 3));
    const shifted = a.map((v, i) => v + shift[i % 3]!);
    for (const order of [1, 2]) {
      const wanted = slicedWasserstein(new Float64Array(3), shift, 3, new Rng('d'), { order });
      expect(slicedWasserstein(a, shifted, 3, new Rng('d'), { order })).toBeCloseTo(wanted, 9);
    }
  });

  it.each([2, 5])('of a shift δ in %s dimensions is |δ|/√dim in the mean over directions', (dim) => {
    const shift = Float64Array.from({ length: dim }, (_, k) => k + 1);
    const norm = Math.hypot(...shift);
    const distance = slicedWasserstein(new Float64Array(dim), shift, dim, new Rng(2), { projections: 20_000 });
    expect(distance / (norm / Math.sqrt(dim))).toBeCloseTo(1, 1.5);
  });

  it('in one dimension is wasserstein1d', () => {
    const [a, b] = [points(3, 40, 1), points(4, 25, 1)];
    expect(slicedWasserstein(a, b, 1, new Rng(5), { projections: 7 })).toBeCloseTo(wasserstein1d(a, b), 9);
  });

  it('vanishes for equal sets in any order, is symmetric, and scales with the sets', () => {
    const [a, b] = [points(6, 60, 3), points(7, 45, 3)];
    const reversed = Float32Array.from({ length: a.length }, (_, i) => a[3 * (59 - Math.floor(i / 3)) + (i % 3)]!);
    expect(slicedWasserstein(a, reversed, 3, new Rng(1))).toBe(0);
    const distance = slicedWasserstein(a, b, 3, new Rng(1));
    expect(slicedWasserstein(b, a, 3, new Rng(1))).toBeCloseTo(distance, 9);
    expect(
      slicedWasserstein(
        a.map((v) => 4 * v),
        b.map((v) => 4 * v),
        3,
        new Rng(1),
      ),
    ).toBeCloseTo(4 * distance, 9);
  });

  it('falls as sets of the same density grow, and sees a difference that moments of order 2 miss', () => {
    const distance = (n: number): number => slicedWasserstein(points(8, n, 2), points(9, n, 2), 2, new Rng(3));
    expect(distance(4000)).toBeLessThan(distance(40) / 3);
    // A ring and a Gaussian of the same mean and covariance.
    const angles = new Rng(4).uniforms(4000);
    const ring = Float32Array.from({ length: 8000 }, (_, i) => Math.SQRT2 * (i & 1 ? Math.sin : Math.cos)(2 * Math.PI * angles[i >> 1]!));
    expect(slicedWasserstein(ring, points(8, 4000, 2), 2, new Rng(3))).toBeGreaterThan(5 * distance(4000));
  });

  const six = new Float32Array(6);
  it.each([
    [() => slicedWasserstein(six, six, 4, new Rng(1)), 'slicedWasserstein: a: wanted [n, 4], got 6 numbers'],
    [() => slicedWasserstein(six, new Float32Array(0), 2, new Rng(1)), 'slicedWasserstein: b: wanted at least 1 samples, got 0'],
    [() => slicedWasserstein(six, six, 0, new Rng(1)), 'wanted dim to be a whole number of at least 1, got 0'],
    [
      () => slicedWasserstein(six, Float32Array.of(0, 1, NaN, 2), 2, new Rng(1)),
      'slicedWasserstein: b: wanted finite numbers, got NaN at sample 1, coordinate 0',
    ],
    [() => slicedWasserstein(six, six, 2, new Rng(1), { projections: 0 }), 'wanted projections to be a whole number of at least 1, got 0'],
    [() => slicedWasserstein(six, six, 2, new Rng(1), { order: 0.5 }), 'slicedWasserstein: wanted a finite order of at least 1, got 0.5'],
    [
      () => wasserstein1d(six, Float32Array.of(Infinity)),
      'wasserstein1d: b: wanted finite numbers, got Infinity at sample 0, coordinate 0',
    ],
    [
      () => wasserstein1d([1, 2] as unknown as Float32Array, six),
      'wasserstein1d: a: wanted a Float32Array or Float64Array [n, 1], got [object Array]',
    ],
  ])('refuses bad arguments %#', (call, message) => {
    expect(call).toThrow(message);
  });
});
