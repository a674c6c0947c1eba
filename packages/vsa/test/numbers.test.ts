import { Rng, tf, useEngine } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
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
  sumOfPairs,
  tileIndices,
  tileLayout,
  toTiles,
  trainingFlops,
  transposeLists,
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
  const draw = (seed: number, { n, m, keep }: { n: number; m: number; keep: number }): number[][] =>
    Array.from({ length: 2 * n }, (_, i) => [...new Rng(seed).child(i).permutation(m).slice(0, keep)]);

  it('hold every pair of tiles once, those of a key tile side by side and by query tile, for any choice', () => {
    const sizes = fc.record({ n: fc.integer({ min: 1, max: 9 }), m: fc.integer({ min: 1, max: 20 }), part: fc.double({ min: 0, max: 1, noNaN: true }), seed: seeds }); // prettier-ignore
    fc.assert(
      fc.property(sizes, ({ n, m, part, seed }) => {
        const keep = Math.max(1, Math.ceil(part * m));
        const rows = draw(seed, { n, m, keep });
        tf.tidy(() => {
          const found = transposeLists(tf.tensor(rows.flat(), [1, 2, n, keep], 'int32'), m);
          const [order, first, counts] = [found.order, found.first, found.counts].map((x) => x.dataSync());
          const byKey = Array.from({ length: 2 * m }, (_, j) =>
            rows.flatMap((row, i) =>
              Math.floor(i / n) === Math.floor(j / m) && row.includes(j % m) ? [i * keep + row.indexOf(j % m)] : [],
            ),
          );
          expect([...counts!]).toEqual(byKey.map((pairs) => pairs.length));
          byKey.forEach((pairs, j) => expect([...order!.slice(first![j], first![j]! + counts![j]!)]).toEqual(pairs));
        });
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    { n: 5, m: 4, keep: 2 },
    { n: 16, m: 3, keep: 3 },
    { n: 40, m: 7, keep: 2 },
    { n: 300, m: 5, keep: 4 },
  ])('add up the pairs of each key tile, also where they are many: %o', (size) => {
    tf.tidy(() => {
      const { n, m, keep } = size;
      // The first key tile is chosen by nobody, if the others are enough.
      const rows = keep < m ? draw(1, { n, m: m - 1, keep }).map((row) => row.map((j) => j + 1)) : draw(1, size);
      const pairs = new Rng('pairs').normal([2 * n * keep, 3]);
      const sums = sumOfPairs(pairs, transposeLists(tf.tensor(rows.flat(), [1, 2, n, keep], 'int32'), m), n);
      const wanted = new Float64Array(2 * m * 3);
      const values = pairs.dataSync();
      rows.forEach((row, i) =>
        row.forEach((j, at) => {
          for (let c = 0; c < 3; c++) wanted[(Math.floor(i / n) * m + j) * 3 + c]! += values[(i * keep + at) * 3 + c]!;
        }),
      );
      expectClose(sums, tf.tensor(Float32Array.from(wanted), [2 * m, 3]), { max: 2e-6 });
      if (keep < m) expect([...sums.dataSync().slice(0, 3)]).toEqual([0, 0, 0]);
    });
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

  it('are near the published saving for a usual network of 410 M parameters, whose sizes the paper does not give', () => {
    const size = { tokens: 16_384, heads: 16, headDim: 64, layers: 24 };
    const saving = (constant: number): number => {
      const dense = denseAttentionFlops(size, constant);
      const { total } = sparseAttentionFlops(size, { keep: 32, volume: 64 }, constant);
      return trainingFlops(410e6, dense) / trainingFlops(410e6, total);
    };
    expect(saving(14)).toBeCloseTo(2.56, 2);
    expect(saving(12)).toBeCloseTo(2.38, 2);
  });
});
