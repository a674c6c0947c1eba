import { beforeAll, describe, expect, it } from 'vitest';
import { dims, tf, useEngine } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

describe('dims', () => {
  it('gives the size of every named axis', () => {
    const x = tf.zeros([2, 5, 7, 3]);
    expect(dims(x, 'B H W C', 'f: x')).toEqual({ B: 2, H: 5, W: 7, C: 3 });
    expect(dims(x, '  B  H W 3 ', 'f: x')).toEqual({ B: 2, H: 5, W: 7 });
    expect(dims(tf.scalar(1), '', 'f: x')).toEqual({});
    expect(dims(tf.zeros([0, 4]), 'N D', 'f: x')).toEqual({ N: 0, D: 4 });
  });

  it('keeps known sizes, binds a repeated name once, and changes nothing that it was given', () => {
    const known = { B: 2, D: 8 };
    expect(dims(tf.zeros([2, 6, 6]), 'B T T', 'f: mask', known)).toEqual({ B: 2, D: 8, T: 6 });
    expect(known).toEqual({ B: 2, D: 8 });
    expect(dims(tf.zeros([3]), 'toString', 'f: x')).toEqual({ toString: 3 });
  });

  it.each<[string, number[], string, Record<string, number>, string]>([
    ['too few axes', [2, 3], 'B H W C', {}, 'f: x: wanted shape [B, H, W, C], got [2, 3]'],
    ['too many axes', [2, 3], 'B', {}, 'f: x: wanted shape [B], got [2, 3]'],
    ['a scalar for a vector', [], 'B', {}, 'f: x: wanted shape [B], got []'],
    ['a vector for a scalar', [1], '', {}, 'f: x: wanted shape [], got [1]'],
    ['a number that differs', [2, 3], 'B 4', {}, 'f: x: wanted shape [B=2, 4], got [2, 3]'],
    ['a known size that differs', [2, 3], 'B D', { D: 4 }, 'f: x: wanted shape [B=2, D=4], got [2, 3]'],
    ['a repeated name that differs', [2, 3, 4], 'B T T', {}, 'f: x: wanted shape [B=2, T=3, T=3], got [2, 3, 4]'],
    ['a number that is 0', [1], '0', {}, 'f: x: wanted shape [0], got [1]'],
  ])('refuses %s', (_, shape, pattern, known, message) => {
    expect(() => dims(tf.zeros(shape), pattern, 'f: x', known)).toThrow(new Error(message));
  });

  it('refuses values that are not tensors', () => {
    expect(() => dims([1, 2] as never, 'B D', 'f: x')).toThrow(new Error('f: x: wanted a tensor [B, D], got object'));
    expect(() => dims(null as never, 'B', 'f: x')).toThrow(new Error('f: x: wanted a tensor [B], got null'));
    expect(() => dims(undefined as never, '', 'f: x')).toThrow(new Error('f: x: wanted a tensor [], got undefined'));
  });
});
