import { Rng, tf, useEngine } from '@atelier/tensor';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  annealedKeep,
  capturedMass,
  denseAttentionFlops,
  fromTiles,
  keepFor,
  officialSparsityAt,
  savingAtShare,
  selectionMask,
  selectTiles,
  sparseAttentionFlops,
  sparsityAt,
  tileIndices,
  tileLayout,
  toTiles,
  trainingFlops,
  transposeLists,
  unitSize,
  vsaStages,
  type Grid,
} from '../src/index.ts';

beforeAll(async () => void (await useEngine()));

const sides = (most: number) =>
  fc.tuple(fc.integer({ min: 1, max: most }), fc.integer({ min: 1, max: most }), fc.integer({ min: 1, max: most }));
const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 });

describe('tiles', () => {
  it('hold every token once, packed at the front, and give them back', () => {
    fc.assert(
      fc.property(sides(7), sides(4), (grid, tile) => {
        const layout = tileLayout(grid, tile);
        expect(new Set(layout.slots).size).toBe(layout.tokens);
        expect(layout.sizes.reduce((a, b) => a + b, 0)).toBe(layout.tokens);
        const { used, partition, reverse } = tileIndices(layout);
        expect([...used]).toEqual([...layout.slots].sort((a, b) => a - b));
        partition.forEach((token, m) => expect(reverse[token]).toBe(m));
        tf.tidy(() => {
          const x = tf.reshape(tf.range(1, layout.tokens + 1), [1, 1, layout.tokens, 1]);
          const tiles = toTiles(x, layout);
          expect([...fromTiles(tiles, layout).dataSync()]).toEqual([...x.dataSync()]);
          tiles.dataSync().forEach((value, slot) => {
            const isUsed = slot % layout.volume < layout.sizes[Math.floor(slot / layout.volume)]!;
            expect(value > 0).toBe(isUsed);
          });
        });
      }),
      { numRuns: 30 },
    );
  });
});

describe('lists the other way round', () => {
  it('hold every pair of tiles once, units of a tile side by side, for any choice', () => {
    const sizes = fc.record({
      n: fc.integer({ min: 1, max: 9 }),
      m: fc.integer({ min: 1, max: 20 }),
      most: fc.integer({ min: 1, max: 9 }),
      seed: seeds,
    });
    fc.assert(
      fc.property(sizes, ({ n, m, most, seed }) => {
        const rng = new Rng(seed);
        const keep = 1 + rng.child('keep').integers(1, 0, m)[0]!;
        const G = 2;
        const rows = Array.from({ length: G * n }, (_, i) => [...rng.child(i).permutation(m).slice(0, keep)]);
        tf.tidy(() => {
          const found = transposeLists(tf.tensor(rows.flat(), [1, G, n, keep], 'int32'), m, most);
          const [keyTile, places] = [found.keyTile.dataSync(), found.queryTiles.dataSync()];
          const R = unitSize(keep);
          expect(keyTile.length % found.together).toBe(0);
          const pairs = [...places].flatMap((entry, i) =>
            entry === 0 ? [] : [`${entry - 1} ${keyTile[Math.floor(i / R)]! - m * Math.floor((entry - 1) / n)}`],
          );
          expect(pairs.sort()).toEqual(rows.flatMap((row, i) => row.map((j) => `${i} ${j}`)).sort());
          expect([...keyTile]).toEqual([...keyTile].sort((a, b) => a - b));
          const attended = found.attended.dataSync();
          found.lastUnit.dataSync().forEach((unit, j) => {
            expect(attended[j]).toBe(rows.some((row, i) => Math.floor(i / n) === Math.floor(j / m) && row.includes(j % m)) ? 1 : 0);
            if (attended[j] === 1) expect(keyTile[unit]).toBe(j);
          });
        });
      }),
      { numRuns: 40 },
    );
  });
});

describe('choices', () => {
  it('have exactly K tiles, hold the choice with fewer, and capture more of the weights, all of them at the end', () => {
    tf.tidy(() => {
      const grid: Grid = [3, 4, 5];
      const rng = new Rng('mass');
      const [q, k, v] = ['q', 'k', 'v'].map((name) => rng.child(name).normal([1, 2, 60, 4]));
      const { scores, layout } = vsaStages(q!, k!, v!, { grid, tile: [2, 2, 2], keep: 1 });
      let before: { mask: number[]; mass: number[] } | undefined;
      for (let keep = 1; keep <= layout.tiles; keep++) {
        const lists = selectTiles(scores, keep);
        const mask = [...selectionMask(lists, layout.tiles).dataSync()];
        const mass = [...capturedMass(q!, k!, lists, layout).dataSync()];
        expect(mask.reduce((a, b) => a + b, 0)).toBe(2 * layout.tiles * keep);
        before?.mask.forEach((one, i) => expect(mask[i]).toBeGreaterThanOrEqual(one));
        before?.mass.forEach((one, i) => expect(mass[i]).toBeGreaterThanOrEqual(one - 1e-6));
        before = { mask, mass };
      }
      for (const mass of before!.mass) expect(mass).toBeCloseTo(1, 5);
    });
  });
});

describe('schedules', () => {
  it('end at the sparsity that was asked for, where the official one stops before it', () => {
    const schedule = { sparsity: 0.9, rate: 0.1, interval: 50 };
    expect(sparsityAt(10_000, schedule)).toBe(0.9);
    expect(officialSparsityAt(10_000, schedule)).toBeCloseTo(0.8, 12);
    expect(officialSparsityAt(1, { ...schedule, interval: 1 }, 'distill')).toBe(0.9);
    expect(keepFor(0.7, 10)).toBe(4);
    expect([0, 14, 15, 104, 105, 500].map((step) => annealedKeep(step, { from: 32, to: 4, by: 4, every: 15 }))).toEqual([
      32, 32, 28, 8, 4, 4,
    ]);
  });
});

describe('costs', () => {
  it('are those of the published settings', () => {
    const size = { tokens: 16_384, heads: 12, headDim: 64, layers: 12 };
    const dense = denseAttentionFlops(size);
    const { fine, coarse } = sparseAttentionFlops(size, { keep: 32, volume: 64 });
    expect(dense / fine).toBe(8);
    expect(dense / coarse).toBe(64 ** 2);
    const parameters = 121.6e6;
    expect(trainingFlops(parameters, dense) / 1e9).toBeCloseTo(2.84, 1);
    expect(trainingFlops(parameters, dense) / trainingFlops(parameters, fine + coarse)).toBeCloseTo(2.86, 1);
    expect(savingAtShare(0.691, 1 / 8)).toBeCloseTo(2.53, 2);
  });
});
