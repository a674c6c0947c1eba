import { Rng } from '@atelier/tensor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { frechetDistance, frechetDistanceOfGaussians, gaussianMoments, type GaussianMoments } from '../src/index.ts';

const gaussian = (mean: number[], covariance: number[]): GaussianMoments => ({
  mean: Float64Array.from(mean),
  covariance: Float64Array.from(covariance),
});
const number = fc.double({ min: -3, max: 3, noNaN: true });

/** M·Mᵀ for a row-major [rows, columns] matrix: singular when columns < rows. */
function product(m: readonly number[], rows: number): number[] {
  const columns = m.length / rows;
  return Array.from({ length: rows * rows }, (_, i) => {
    const [j, k] = [Math.floor(i / rows), i % rows];
    return Array.from({ length: columns }, (_, c) => m[j * columns + c]! * m[k * columns + c]!).reduce((sum, v) => sum + v, 0);
  });
}

describe('gaussianMoments', () => {
  it('is the mean and the covariance with divisor n - 1', () => {
    const { mean, covariance } = gaussianMoments(Float32Array.of(1, 2, 3, 6, 5, 4), 2);
    expect([...mean]).toEqual([expect.closeTo(3, 12), expect.closeTo(4, 12)]);
    // Deviations (-2, -2), (0, 2), (2, 0).
    expect([...covariance]).toEqual([4, 2, 2, 4].map((v) => expect.closeTo(v, 12)));
  });

  it('keeps float64 accuracy where the mean is far larger than the spread', () => {
    const { covariance } = gaussianMoments(Float64Array.of(1e6, 1e6 + 1, 1e6 + 2), 1);
    expect(covariance[0]).toBeCloseTo(1, 9);
  });
});

describe('frechetDistanceOfGaussians', () => {
  it("for diagonal covariances is Σ (m - m')² + (s - s')²", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(number, number, number, number), { minLength: 1, maxLength: 6 }), (axes) => {
        const dim = axes.length;
        const diagonal = (k: number): number[] =>
          Array.from({ length: dim * dim }, (_, i) => (i % (dim + 1) === 0 ? axes[i / (dim + 1)]![k]! ** 2 : 0));
        const a = gaussian(
          axes.map((axis) => axis[0]),
          diagonal(2),
        );
        const b = gaussian(
          axes.map((axis) => axis[1]),
          diagonal(3),
        );
        const wanted = axes.reduce((sum, [m1, m2, s1, s2]) => sum + (m1 - m2) ** 2 + (Math.abs(s1) - Math.abs(s2)) ** 2, 0);
        expect(frechetDistanceOfGaussians(a, b)).toBeCloseTo(wanted, 6);
      }),
    );
  });

  it('for any two covariances of the plane uses tr (S₁S₂)^½ = sqrt(tr S₁S₂ + 2·sqrt(det S₁S₂))', () => {
    const square = fc.array(number, { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(square, square, (m1, m2) => {
        const [s1, s2] = [product(m1, 2), product(m2, 2)];
        const det = (s: number[]): number => Math.max(0, s[0]! * s[3]! - s[1]! * s[2]!);
        const trace = s1.reduce((sum, v, i) => sum + v * s2[i]!, 0);
        const root = Math.sqrt(trace + 2 * Math.sqrt(det(s1) * det(s2)));
        const wanted = s1[0]! + s1[3]! + s2[0]! + s2[3]! - 2 * root;
        expect(Math.abs(frechetDistanceOfGaussians(gaussian([0, 0], s1), gaussian([0, 0], s2)) - wanted)).toBeLessThan(2e-6);
      }),
    );
  });

  it('accepts a covariance so small that its entries are rounded to multiples of the least number', () => {
    const tiny = product([3.791991497113151e-162, 0, -6.514593271337496e-163, 0], 2);
    expect(tiny.some((value) => value > 0)).toBe(true);
    for (const other of [product([0, 0, 0, 0], 2), product([1, 0, 0, 1], 2)]) {
      const distance = frechetDistanceOfGaussians(gaussian([0, 0], other), gaussian([0, 0], tiny));
      expect(distance).toBeCloseTo(other[0]! + other[3]!, 12);
    }
  });

  it('copes with singular covariances: for rank one, S = u·uᵀ and v·vᵀ, it is |u|² + |v|² - 2·|u·v|', () => {
    const vector = fc.array(number, { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(vector, vector, (u, v) => {
        const dot = u.reduce((sum, value, i) => sum + value * v[i]!, 0);
        const wanted = u.reduce((sum, x) => sum + x * x, 0) + v.reduce((sum, x) => sum + x * x, 0) - 2 * Math.abs(dot);
        const zero = [0, 0, 0, 0];
        expect(Math.abs(frechetDistanceOfGaussians(gaussian(zero, product(u, 4)), gaussian(zero, product(v, 4))) - wanted)).toBeLessThan(
          2e-6,
        );
      }),
    );
    expect(frechetDistanceOfGaussians(gaussian([1, 0], [0, 0, 0, 0]), gaussian([0, 0], [2, 0, 0, 3]))).toBeCloseTo(6, 12);
  });

  it('is symmetric, 0 for equal Gaussians, and the same in a rotated frame', () => {
    const matrix = fc.array(number, { minLength: 9, maxLength: 9 });
    const rotate = (m: number[], angle: number): number[] => {
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      return [...m.slice(0, 3).map((v, i) => c * v - s * m[3 + i]!), ...m.slice(0, 3).map((v, i) => s * v + c * m[3 + i]!), ...m.slice(6)];
    };
    fc.assert(
      fc.property(matrix, matrix, number, (m1, m2, angle) => {
        const of = (m: number[]): GaussianMoments => gaussian([0, 0, 0], product(m, 3));
        const distance = frechetDistanceOfGaussians(of(m1), of(m2));
        expect(Math.abs(frechetDistanceOfGaussians(of(m2), of(m1)) - distance)).toBeLessThan(2e-6);
        expect(Math.abs(frechetDistanceOfGaussians(of(rotate(m1, angle)), of(rotate(m2, angle))) - distance)).toBeLessThan(2e-6);
        expect(frechetDistanceOfGaussians(of(m1), of(m1))).toBeLessThan(2e-6);
      }),
    );
  });

  it('keeps its accuracy for covariances of any scale, and for axes that differ by many orders', () => {
    for (const scale of [1e-200, 1e-12, 1e12, 1e200]) {
      expect(frechetDistanceOfGaussians(gaussian([0], [scale]), gaussian([0], [4 * scale])) / scale).toBeCloseTo(1, 9);
    }
    expect(frechetDistanceOfGaussians(gaussian([0, 0], [1e8, 0, 0, 1e-8]), gaussian([0, 0], [1e8, 0, 0, 0]))).toBeCloseTo(1e-8, 6);
  });

  it.each([
    ['another dimension', gaussian([0], [1]), 'b: wanted a mean of 2 numbers, got 1'],
    ['a covariance of the wrong size', gaussian([0, 0], [1, 0, 0]), 'b: wanted a covariance [2, 2], got 3 numbers'],
    ['NaN', gaussian([0, 0], [1, NaN, NaN, 1]), 'b: wanted a finite covariance, got NaN at 1'],
    ['an infinite mean', gaussian([0, Infinity], [1, 0, 0, 1]), 'b: wanted a finite mean, got Infinity at 1'],
    [
      'an asymmetric covariance',
      gaussian([0, 0], [1, 0.5, 0.4, 1]),
      'b: wanted a symmetric covariance, got 0.4 at [1, 0] and 0.5 at [0, 1]',
    ],
    ['an indefinite covariance', gaussian([0, 0], [2, 4, 4, 2]), 'wanted b with a positive semidefinite covariance, got the eigenvalue -'],
  ])('refuses %s', (_, b, message) => {
    expect(() => frechetDistanceOfGaussians(gaussian([0, 0], [1, 0, 0, 1]), b)).toThrow(message);
    expect(() => frechetDistanceOfGaussians(gaussian([0, 0], [1, 0, 0, 1]), b)).toThrow(/^frechetDistanceOfGaussians: /);
  });
});

describe('frechetDistance', () => {
  it('of a shifted set is the squared shift, also with fewer samples than dimensions', () => {
    for (const [n, dim] of [
      [50, 4],
      [5, 30],
    ] as const) {
      const a = Float64Array.from(new Rng(n).normals(n * dim));
      const b = a.map((v, i) => v + (i % dim) / dim);
      const wanted = Array.from({ length: dim }, (_, k) => (k / dim) ** 2).reduce((sum, v) => sum + v, 0);
      expect(frechetDistance(a, b, dim)).toBeCloseTo(wanted, 5);
    }
  });

  it('of two sample sets comes near the distance of their Gaussians', () => {
    const a = new Rng(1).normals(3 * 20_000);
    const b = new Rng(2).normals(3 * 20_000).map((v, i) => 1 + 2 * v + (i % 3));
    expect(frechetDistance(a, b, 3) / (1 + 4 + 9 + 3)).toBeCloseTo(1, 1);
  });

  it('refuses a single sample and values that are not finite', () => {
    const two = Float32Array.of(1, 2, 3, 4);
    expect(() => frechetDistance(two, Float32Array.of(1, 2), 2)).toThrow('gaussianMoments: wanted at least 2 samples, got 1');
    expect(() => frechetDistance(two, Float32Array.of(1, 2, 3, NaN), 2)).toThrow(
      'gaussianMoments: wanted finite numbers, got NaN at sample 1, coordinate 1',
    );
  });
});
