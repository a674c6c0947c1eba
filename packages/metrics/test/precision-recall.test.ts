import { Rng } from '@atelier/tensor';
import { expect, it } from 'vitest';
import { precisionRecall } from '../src/index.ts';

it('counts by hand on the line', () => {
  // Balls around 0, 1, 2, 10 to the nearest other: radii 1, 1, 1, 8.
  const real = Float32Array.of(0, 1, 2, 10);
  // 1.5 and 2.5 lie inside; 18 is on the rim of the last ball, 19 outside of all.
  const fake = Float32Array.of(1.5, 2.5, 18, 19);
  // Around the samples: radii 1, 1, 1, 1. Of the true points 1 and 2 lie inside.
  expect(precisionRecall(real, fake, 1, { k: 1 })).toEqual({ precision: 3 / 4, recall: 2 / 4 });
});

it('is 1 for equal sets, loses recall where samples lack a part, and precision where they have one too many', () => {
  const rng = new Rng('sets');
  const cloud = (name: string, n: number, at: number): Float32Array =>
    rng
      .child(name)
      .normals(2 * n)
      .map((x, i) => x * 0.1 + (i & 1 ? 0 : at));
  const both = Float32Array.from([...cloud('a', 100, 0), ...cloud('b', 100, 9)]);
  expect(precisionRecall(both, both, 2)).toEqual({ precision: 1, recall: 1 });
  const one = cloud('c', 200, 0);
  const lacking = precisionRecall(both, one, 2);
  expect(lacking.precision).toBeGreaterThan(0.9);
  expect(lacking.recall).toBeCloseTo(0.5, 1);
  const swapped = precisionRecall(one, both, 2);
  expect(swapped).toEqual({ precision: lacking.recall, recall: lacking.precision });
});

it('refuses what does not fit', () => {
  expect(() => precisionRecall(Float32Array.of(0, 1), Float32Array.of(0, 1), 1, { k: 2 })).toThrow(
    'precisionRecall: k: wanted a whole number from 1 to 1, got 2',
  );
  expect(() => precisionRecall(Float32Array.of(0, 1, 2), Float32Array.of(0, 1), 2)).toThrow('precisionRecall: real');
  expect(() => precisionRecall(Float32Array.of(0, NaN), Float32Array.of(0, 1), 1, { k: 1 })).toThrow('precisionRecall: real');
});
