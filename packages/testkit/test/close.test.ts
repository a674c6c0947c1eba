import { tf, useEngine, type HostTensor } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose, relativeError } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

const host = (values: number[], shape: number[] = [values.length]): HostTensor => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from(values),
});

describe('expectClose', () => {
  it('adds abs, rel·|b| and max·max|b|, the bound included', () => {
    // Powers of two, so that every bound is exact: 1/4 + 4/8 + 16/16 = 1.75 for b = 4.
    const tolerance = { abs: 1 / 4, rel: 1 / 8, max: 1 / 16 };
    expectClose([5.75, 16], [4, 16], tolerance);
    expectClose([2.25, 16], [4, 16], tolerance);
    expect(() => expectClose([5.75 + 2 ** -20, 16], [4, 16], tolerance)).toThrow('1 of 2 values');
    expect(() => expectClose([2.25 - 2 ** -20, 16], [4, 16], tolerance)).toThrow('1 of 2 values');
    expectClose([-5.75, 16], [-4, 16], tolerance);
    expect(() => expectClose([5.75, 8], [4, 8], tolerance)).toThrow('allowed 1.25');
  });

  it('without tolerance asks for equal values; the sign of zero does not count', () => {
    expectClose([1, -0], [1, 0]);
    expect(() => expectClose([1 + 2 ** -52], [1])).toThrow('1 of 1 values');
  });

  it.each([
    [NaN, 0],
    [0, NaN],
    [NaN, Infinity],
    [Infinity, NaN],
    [Infinity, -Infinity],
    [-Infinity, Infinity],
    [Infinity, 1e38],
    [1e38, Infinity],
  ])('never accepts %d for %d, at any tolerance', (a, b) => {
    expect(() => expectClose([1, a], [1, b], { abs: 1e30, rel: 1, max: 1 })).toThrow(
      `1 of 2 values are out of bounds, worst at index 1: got ${a}, wanted ${b}`,
    );
  });

  it('accepts NaN for NaN and an infinity for the same infinity; they do not widen the bound of other elements', () => {
    expectClose([NaN, Infinity, -Infinity, 1], [NaN, Infinity, -Infinity, 1]);
    expect(() => expectClose([Infinity, 2], [Infinity, 1], { max: 0.5, rel: 0.25 })).toThrow(
      'got 2, wanted 1 (difference 1, allowed 0.75)',
    );
  });

  it('reports count, worst element, its index, both values, difference and bound', () => {
    const message = 'loss: 2 of 6 values are out of bounds, worst at [1, 2] (index 5): got 7, wanted 6 (difference 1, allowed 0.1)';
    expect(() => expectClose(host([1, 2, 3.5, 4, 5, 7], [2, 3]), host([1, 2, 3, 4, 5, 6], [2, 3]), { abs: 0.1 }, 'loss')).toThrow(message);
  });

  it('reads tensors, host tensors and lists alike, and compares shapes where both have one', () => {
    const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
    expectClose(x, host([1, 2, 3, 4], [2, 2]));
    expectClose(host([1, 2, 3, 4], [2, 2]), x);
    expectClose(x, [1, 2, 3, 4]);
    expectClose(Int32Array.of(1), Float64Array.of(1));
    expectClose(tf.scalar(3), host([3], []));
    expect(() => expectClose(x, host([1, 2, 3, 4], [4]), {}, 'out')).toThrow('out: wanted shape [4], got [2, 2]');
    expect(() => expectClose(x, host([1, 2, 3, 4], [1, 2, 2]))).toThrow('expectClose: wanted shape [1, 2, 2], got [2, 2]');
    expect(() => expectClose(x, [1, 2, 3])).toThrow('expectClose: wanted 3 values, got 4');
  });

  it('refuses comparisons that would prove nothing', () => {
    expect(() => expectClose([], [])).toThrow('expectClose: wanted at least one value to compare, got none');
    expect(() => expectClose([1], [1], { abs: NaN })).toThrow('expectClose: wanted a finite tolerance abs >= 0, got NaN');
    expect(() => expectClose([1], [1], { rel: -1 })).toThrow('wanted a finite tolerance rel >= 0, got -1');
    expect(() => expectClose([1], [1], { max: Infinity })).toThrow('wanted a finite tolerance max >= 0, got Infinity');
    expect(() => expectClose([1], [1], { atol: 1 } as never)).toThrow("expectClose: wanted tolerances abs, rel and max, got 'atol'");
    expect(() => expectClose(undefined as never, [1])).toThrow(
      'expectClose: actual: wanted a tensor, host tensor or list of numbers, got undefined',
    );
    expect(() => expectClose([1], 1 as never)).toThrow(
      'expectClose: expected: wanted a tensor, host tensor or list of numbers, got number',
    );
    const gone = tf.scalar(1);
    gone.dispose();
    expect(() => expectClose(gone, [1])).toThrow('expectClose: actual: wanted a living tensor, got one that is disposed');
  });
});

describe('relativeError', () => {
  it('is the largest difference over the largest expected magnitude', () => {
    expect(relativeError([1, -7.5], [1, -8])).toBe(0.0625);
    expect(relativeError([0, 0], [0, 0])).toBe(0);
    expect(relativeError([NaN, 2], [NaN, 2])).toBe(0);
  });

  it('is infinite where there is no measure', () => {
    expect(relativeError([1], [0])).toBe(Infinity);
    expect(relativeError([NaN], [1])).toBe(Infinity);
    expect(relativeError([1, 1], [Infinity, 1])).toBe(Infinity);
  });

  it('refuses other shapes', () => {
    expect(() => relativeError([1, 2], [1])).toThrow('relativeError: wanted 1 values, got 2');
  });
});
