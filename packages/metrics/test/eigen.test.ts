import { Rng } from '@atelier/tensor';
import { describe, expect, it } from 'vitest';
import { symmetricSpectrum } from '../src/index.ts';

describe('symmetricSpectrum', () => {
  it('takes a matrix apart into ascending values and orthonormal vectors', () => {
    for (const [n, scale] of [
      [1, 1],
      [2, 1e-3],
      [7, 1e5],
    ] as const) {
      const a = Float64Array.from(new Rng(n).normals(n * n));
      const matrix = Float64Array.from(a, (_, k) => scale * (a[k]! + a[(k % n) * n + Math.floor(k / n)]!));
      const { values, vectors } = symmetricSpectrum(matrix);
      expect([...values]).toEqual([...values].sort((x, y) => x - y));
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) {
          let [rebuilt, product] = [0, 0];
          for (let k = 0; k < n; k++) {
            rebuilt += vectors[i * n + k]! * values[k]! * vectors[j * n + k]!;
            product += vectors[k * n + i]! * vectors[k * n + j]!;
          }
          expect(Math.abs(rebuilt - matrix[i * n + j]!)).toBeLessThan(1e-12 * scale);
          expect(product).toBeCloseTo(i === j ? 1 : 0, 12);
        }
    }
    expect([...symmetricSpectrum(new Float64Array(4)).values]).toEqual([0, 0]);
  });

  it('refuses what is not symmetric', () => {
    expect(() => symmetricSpectrum(Float64Array.of(1, 2, 3, 4))).toThrow(
      'symmetricSpectrum: wanted a symmetric matrix, got 3 and 2 at 1, 0',
    );
    expect(() => symmetricSpectrum(new Float64Array(3))).toThrow('symmetricSpectrum: wanted a square matrix, got 3 numbers');
    expect(() => symmetricSpectrum(Float64Array.of(1, NaN, NaN, 1))).toThrow('wanted a symmetric matrix');
  });
});
