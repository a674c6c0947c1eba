import { describe, expect, it } from 'vitest';
import { classShare, predictedClasses } from '../src/index.ts';

describe('classShare', () => {
  it('is the share of predictions that equal the labels', () => {
    expect(classShare(Int32Array.of(0, 1, 2, 3), Int32Array.of(0, 1, 0, 3))).toBe(0.75);
    expect(classShare(predictedClasses([0.1, 0.9, 3, -1, -5, -4], 2), Int32Array.of(1, 0, 0))).toBeCloseTo(2 / 3, 12);
  });

  it('refuses counts that differ or are 0', () => {
    expect(() => classShare(new Int32Array(2), new Int32Array(3))).toThrow('classShare: wanted 3 predictions, as many as labels, got 2');
    expect(() => classShare(new Int32Array(0), new Int32Array(0))).toThrow('classShare: wanted at least 1 label, got 0');
  });
});

describe('predictedClasses', () => {
  it('takes the largest of each row, the first of equal ones, also with infinities', () => {
    expect([...predictedClasses([1, 5, 2, 7, 7, 0, -Infinity, -Infinity, Infinity], 3)]).toEqual([1, 0, 2]);
    expect([...predictedClasses(new Float32Array(0), 3)]).toEqual([]);
  });

  it('refuses NaN, a wrong length and no classes', () => {
    expect(() => predictedClasses([1, 2, 3], 2)).toThrow('predictedClasses: wanted logits [n, 2], got 3 numbers');
    expect(() => predictedClasses([1, 2, NaN, 4], 2)).toThrow('predictedClasses: wanted numbers, got NaN in row 1, class 0');
    expect(() => predictedClasses([1], 0)).toThrow('predictedClasses: wanted classes to be a whole number of at least 1, got 0');
  });
});
