import { Rng } from '@atelier/tensor';
import { describe, expect, it } from 'vitest';
import { gaussianField } from '../src/index.ts';

describe('gaussianField', () => {
  const [side, pixels] = [4, 16];
  const field = gaussianField(side);

  it('has the inverse Fourier transform of its spectrum for a covariance', () => {
    const period = 4 * side;
    const transform = (dy: number, dx: number): number => {
      let sum = 0;
      for (let u = -period / 2; u < period / 2; u++)
        for (let v = -period / 2; v < period / 2; v++)
          sum += (u * u + v * v + 16) ** -3 * Math.cos((2 * Math.PI * (u * dy + v * dx)) / period);
      return sum;
    };
    for (let a = 0; a < pixels; a++)
      for (let b = 0; b < pixels; b++) {
        const expected = transform(Math.floor(a / side) - Math.floor(b / side), (a % side) - (b % side)) / transform(0, 0);
        expect(field.covariance[a * pixels + b]).toBeCloseTo(expected, 12);
      }
    expect(field.covariance[0]).toBe(1);
    expect(field.covariance[1]).toBeGreaterThan(field.covariance[2]!);
  });

  it('samples with that covariance and mean 0', () => {
    const count = 40_000;
    const x = field.sample(new Rng('field'), count);
    expect(x).toHaveLength(count * pixels);
    const moment = (a: number, b: number): number => {
      let sum = 0;
      for (let i = 0; i < count; i++) sum += x[i * pixels + a]! * x[i * pixels + b]!;
      return sum / count;
    };
    for (const [a, b] of [
      [0, 0],
      [5, 6],
      [0, 15],
      [3, 12],
      [9, 9],
    ] as const)
      // prettier-ignore
      expect(Math.abs(moment(a, b) - field.covariance[a * pixels + b]!)).toBeLessThan(0.02);
    for (const pixel of [0, 7]) {
      let sum = 0;
      for (let i = 0; i < count; i++) sum += x[i * pixels + pixel]!;
      expect(Math.abs(sum / count)).toBeLessThan(0.02);
    }
  });

  it('draws the same images whatever the number that is asked for', () => {
    expect(field.sample(new Rng(1), 2)).toEqual(field.sample(new Rng(1), 5).subarray(0, 2 * pixels));
  });

  it('is smoother with a larger power and a smaller scale', () => {
    const neighbours = (options: { scale?: number; power?: number }): number => gaussianField(side, options).covariance[1]!;
    expect(neighbours({ power: 4 })).toBeGreaterThan(neighbours({ power: 2 }));
    expect(neighbours({ scale: 0.5 })).toBeGreaterThan(neighbours({ scale: 2 }));
  });

  it('draws finite numbers where the covariance is nearly singular', () => {
    const smooth = gaussianField(12, { scale: 0.01, power: 8 });
    expect(smooth.sample(new Rng('smooth'), 10).every(Number.isFinite)).toBe(true);
  });

  it('refuses what has no covariance', () => {
    expect(() => gaussianField(0)).toThrow('gaussianField: side: wanted an integer at least 1, got 0');
    expect(() => gaussianField(4, { power: 1 })).toThrow('gaussianField: power: wanted a finite number above 1, got 1');
    expect(() => gaussianField(4, { scale: NaN })).toThrow('gaussianField: scale: wanted a finite number above 0, got NaN');
    expect(() => field.sample(new Rng(1), 0.5)).toThrow('gaussianField.sample: count: wanted an integer at least 1, got 0.5');
  });
});
