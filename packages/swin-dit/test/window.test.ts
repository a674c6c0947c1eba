import fc from 'fast-check';
import { splitHeads } from '@atelier/nn';
import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { relativePositionBias, rollTokens, shiftMask, windowPartition, windowReverse, windowSide } from '../src/index.ts';
import { mergeWindowHeads, splitWindowHeads } from '../src/window.ts';

beforeAll(async () => {
  await useEngine();
});

const raster = (shape: number[]): Tensor =>
  tf.reshape(
    tf.range(
      0,
      shape.reduce((a, b) => a * b, 1),
    ),
    shape,
  );

describe('windows', () => {
  it('invariant 8: partition and reverse are inverse to each other, on any grid', () => {
    const side = fc.integer({ min: 1, max: 3 });
    fc.assert(
      fc.property(side, side, side, side, (m, n, down, across) => {
        const x = raster([2, m * down, n * across, 3]);
        const windows = windowPartition(x, [m, n]);
        expect(windows.shape).toEqual([2 * down * across, m, n, 3]);
        expectClose(windowReverse(windows, { h: m * down, w: n * across }), x);
      }),
      { numRuns: 20 },
    );
  });

  it('come batch first, then row by row', () => {
    const windows = windowPartition(raster([2, 4, 6, 1]), 2);
    expect(Array.from(windows.dataSync()).slice(4, 8)).toEqual([2, 3, 8, 9]);
    expect(Array.from(windows.dataSync()).slice(12, 16)).toEqual([12, 13, 18, 19]);
    expect(Array.from(windows.dataSync()).slice(24, 28)).toEqual([24, 25, 30, 31]);
  });

  it('are cut and split into heads in one transpose, and put back', () => {
    const [grid, M, heads] = [{ h: 4, w: 6 }, 2, 3];
    const x = raster([2, 24, 6]);
    const split = splitWindowHeads(x, grid, M, heads);
    const windows = tf.reshape(windowPartition(tf.reshape(x, [2, 4, 6, 6]), M), [12, 4, 6]);
    expectClose(split, splitHeads(windows, heads));
    expectClose(mergeWindowHeads(split, grid, M), x);
  });

  it('have the wanted side, or the smaller side of the grid, or an error that lists the sides that fit', () => {
    expect(windowSide({ h: 16, w: 32 }, 8)).toBe(8);
    expect(windowSide({ h: 4, w: 12 }, 8)).toBe(4);
    expect(windowSide({ h: 8, w: 8 }, 8)).toBe(8);
    expect(() => windowSide({ h: 16, w: 24 }, 6)).toThrow(
      "windowSide: window: wanted a common divisor of the grid's sides 16 and 24 (1, 2, 4, 8), got 6",
    );
    expect(() => windowSide({ h: 4, w: 6 }, 8)).toThrow("wanted a common divisor of the grid's sides 4 and 6 (1, 2), got 4");
    expect(() => windowSide({ h: 4, w: 6 }, 0)).toThrow('windowSide: window: wanted an integer at least 1, got 0');
  });

  it('are refused where they do not divide the grid', () => {
    const x = raster([1, 4, 6, 2]);
    expect(() => windowPartition(x, 4)).toThrow("windowPartition: wanted columns of a window that divide the grid's 6, got 4");
    expect(() => windowPartition(x, [3, 2])).toThrow("windowPartition: wanted rows of a window that divide the grid's 4, got 3");
    expect(() => windowPartition(tf.zeros([4, 6, 2]), 2)).toThrow('windowPartition: x: wanted shape [B, H, W, C], got [4, 6, 2]');
    expect(() => windowReverse(raster([5, 2, 2, 1]), { h: 4, w: 6 })).toThrow(
      'windowReverse: windows: wanted a multiple of 6 windows, got 5',
    );
  });
});

describe('relative positions', () => {
  it('are query minus key: a table of (row, column) differences gives them back', () => {
    const [rows, columns] = [2, 3];
    const table = tf.tensor2d(
      Array.from({ length: 15 }, (_, k) => [Math.floor(k / 5) - 1, (k % 5) - 2]),
      [15, 2],
    );
    const [down, across] = relativePositionBias(table, rows, columns).arraySync() as number[][][];
    for (let q = 0; q < 6; q++)
      for (let k = 0; k < 6; k++) {
        expect(down![q]![k]).toBe(Math.floor(q / 3) - Math.floor(k / 3));
        expect(across![q]![k]).toBe((q % 3) - (k % 3));
      }
  });

  it('refuses a table of another window', () => {
    expect(() => relativePositionBias(tf.zeros([9, 2]), 3, 3)).toThrow(
      'relativePositionBias: table: wanted shape [positions=25, a], got [9, 2]',
    );
  });
});

describe('shifting', () => {
  it('rolls up and to the left around the edges, and back', () => {
    const x = raster([2, 24, 2]);
    const rolled = tf.reshape(rollTokens(x, { h: 4, w: 6 }, 1), [2, 4, 6, 2]);
    expect(Array.from(tf.slice(rolled, [0, 0, 0, 0], [1, 1, 6, 1]).dataSync())).toEqual([14, 16, 18, 20, 22, 12]);
    expectClose(rollTokens(tf.reshape(rolled, [2, 24, 2]), { h: 4, w: 6 }, -1), x);
    expect(rollTokens(x, { h: 4, w: 6 }, 0).shape).toEqual(x.shape);
  });

  it('masks nothing without a shift, and refuses a shift of a whole window', () => {
    expect(shiftMask({ h: 4, w: 6 }, 2, 0).every((value) => value === 0)).toBe(true);
    expect(() => shiftMask({ h: 4, w: 6 }, 2, 2)).toThrow('shiftMask: shift: wanted an integer at least 0 and below 2, got 2');
    expect(() => shiftMask({ h: 4, w: 6 }, 3, 1)).toThrow('(1, 2), got 3');
    expect(() => rollTokens(new Rng(1).normal([1, 24, 2]), { h: 4, w: 6 }, 0.5)).toThrow('rollTokens: shift: wanted an integer, got 0.5');
  });
});
