import { Rng, tf, useEngine } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { rotaryTables, rotate, rotatePairs } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

const axes = fc.array(fc.record({ size: fc.integer({ min: 1, max: 4 }), pairs: fc.integer({ min: 0, max: 3 }) }), {
  minLength: 1,
  maxLength: 3,
});

describe('rotary positions', () => {
  it('on any grid turn every pair of channels by position·10000^(-2m/D) of its axis', () => {
    fc.assert(
      fc.property(axes, fc.integer(), (all, seed) => {
        const widths = all.map(({ pairs }) => 2 * pairs);
        const grid = all.map(({ size }) => size);
        const d = widths.reduce((a, b) => a + b, 0);
        fc.pre(d > 0);
        const T = grid.reduce((a, b) => a * b, 1);
        const x = new Rng(seed).normal([1, 1, T, d]);
        const { cos, sin } = rotaryTables(grid, widths);
        const values = x.dataSync();
        const wanted = new Float32Array(T * d);
        for (let token = 0; token < T; token++) {
          let channel = 0;
          widths.forEach((width, axis) => {
            const after = grid.slice(axis + 1).reduce((a, b) => a * b, 1);
            const position = Math.floor(token / after) % grid[axis]!;
            for (let m = 0; m < width / 2; m++, channel += 2) {
              const angle = position * 10000 ** ((-2 * m) / width);
              const [a, b] = [values[token * d + channel]!, values[token * d + channel + 1]!];
              wanted[token * d + channel] = a * Math.cos(angle) - b * Math.sin(angle);
              wanted[token * d + channel + 1] = b * Math.cos(angle) + a * Math.sin(angle);
            }
          });
        }
        expectClose(rotatePairs(x, cos, sin), wanted, { abs: 1e-6 });
        if (grid.length === 1) expectClose(rotate(x), wanted, { abs: 1e-6 });
      }),
      { numRuns: 30 },
    );
  });

  it('make the product of a query and a key depend on the differences of their positions only', () => {
    const [grid, widths, d] = [[3, 4, 5], [4, 2, 6], 12];
    const { cos, sin } = rotaryTables(grid, widths);
    const rng = new Rng('same vectors');
    const everywhere = (name: string) => tf.tile(rng.child(name).normal([1, 1, 1, d]), [1, 1, 60, 1]);
    const products = tf.matMul(rotatePairs(everywhere('q'), cos, sin), rotatePairs(everywhere('k'), cos, sin), false, true).dataSync();
    const at = (a: number, b: number, c: number): number => (a * 4 + b) * 5 + c;
    const between = (from: number, to: number): number => products[from * 60 + to]!;
    expect(between(at(0, 0, 1), at(1, 2, 0))).toBeCloseTo(between(at(1, 1, 4), at(2, 3, 3)), 4);
    expect(between(at(2, 3, 0), at(0, 1, 4))).toBeCloseTo(between(at(2, 2, 0), at(0, 0, 4)), 4);
    expect(Math.abs(between(at(0, 0, 0), at(0, 0, 1)) - between(at(0, 0, 0), at(0, 1, 0)))).toBeGreaterThan(1e-3);
  });

  it('refuse what does not fit, in one sentence', () => {
    expect(() => rotaryTables([2, 3], [4])).toThrow('rotaryTables: wanted as many widths as axes, got widths [4] and a grid [2, 3]');
    expect(() => rotaryTables([2], [3])).toThrow('rotaryTables: channels of axis 0: wanted an even number, got 3');
    expect(() => rotaryTables([0], [4])).toThrow(/rotaryTables: tokens along axis 0: wanted/);
    expect(() => rotate(tf.zeros([1, 1, 2, 3]))).toThrow('rotate: x: wanted an even width of a head, got 3');
  });
});
