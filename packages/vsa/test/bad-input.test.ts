import { Rng, tf, useEngine, disposeTree, type Tree } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  annealedKeep,
  applyWan,
  capturedMass,
  checkScores,
  fineStage,
  initWan,
  keepFor,
  officialSparsityAt,
  retrofitWan,
  videoRotaryTables,
  savingAtShare,
  selectTiles,
  sparseAttentionFlops,
  sparsityAt,
  tileLayout,
  toTiles,
  vsaAttention,
  vsaPacked,
  wanFromStateDict,
  type Grid,
  type PackedOptions,
  type VsaOptions,
} from '../src/index.ts';

beforeAll(async () => void (await useEngine()));

const grid: Grid = [2, 3, 4];
const tile: Grid = [2, 2, 2];
const x = (shape: number[]) => tf.zeros(shape);
const tokens = () => x([1, 2, 24, 4]);
const call =
  (options: object, q = tokens(), k = q, v = k) =>
  () =>
    vsaAttention(q, k, v, { grid, tile, keep: 2, ...options } as unknown as VsaOptions);

describe('vsaAttention refuses', () => {
  it.each([
    ['more tiles than there are', call({ keep: 5 }), 'vsaAttention: keep: wanted at most the 4 tiles of the keys, got 5'],
    ['no tile', call({ keep: 0 }), 'vsaAttention: keep: wanted an integer at least 1, got 0'],
    ['a part of a tile', call({ keep: 1.5 }), 'vsaAttention: keep: wanted an integer at least 1, got 1.5'],
    ['neither keep nor sparsity', call({ keep: undefined }), 'vsaAttention: wanted keep or sparsity, got neither'],
    ['both', call({ sparsity: 0.5 }), 'vsaAttention: wanted keep or sparsity, got both'],
    [
      'a sparsity above 1',
      call({ keep: undefined, sparsity: 2 }),
      'keepFor: sparsity: wanted a finite number at least 0 and at most 1, got 2',
    ],
    ['an empty video', call({ grid: [0, 3, 4] }), 'tileLayout: grid: frames: wanted an integer at least 1, got 0'],
    ['a grid of two sides', call({ grid: [3, 4] }), 'tileLayout: grid: wanted three sides [frames, rows, columns], got [3,4]'],
    ['an empty tile', call({ tile: [2, 0, 2] }), 'tileLayout: tile: rows: wanted an integer at least 1, got 0'],
    ['another number of tokens', call({ grid: [2, 3, 5] }), 'vsaAttention: q: wanted shape [B=1, K=2, T=30, d], got [1, 2, 24, 4]'],
    [
      'another number of heads',
      call({}, tokens(), x([1, 3, 24, 4])),
      'vsaAttention: k: wanted shape [B=1, K=2, S=24, d=4], got [1, 3, 24, 4]',
    ],
    [
      'another width of heads',
      call({}, tokens(), tokens(), x([1, 2, 24, 5])),
      'vsaAttention: v: wanted shape [B=1, K=2, S=24, d=4], got [1, 2, 24, 5]',
    ],
    ['keys of another grid', call({ keyGrid: [1, 1, 2] }), 'vsaAttention: k: wanted shape [B=1, K=2, S=2, d=4], got [1, 2, 24, 4]'],
    [
      'a gate of another shape',
      call({ gate: x([1, 2, 24, 1]) }),
      'vsaAttention: gate: wanted shape [B=1, K=2, T=24, d=4], got [1, 2, 24, 1]',
    ],
    [
      'a fine gate of another shape',
      call({ fineGate: x([1, 24, 8]) }),
      'vsaAttention: fineGate: wanted shape [B=1, K=2, T=24, d=4], got [1, 24, 8]',
    ],
    ['a part of a token before the video', call({ prefix: 0.5 }), 'vsaAttention: prefix: wanted an integer at least 0, got 0.5'],
    [
      'fewer tokens than the prefix and the video have',
      call({ prefix: 3 }),
      'vsaAttention: q: wanted shape [B=1, K=2, T=27, d], got [1, 2, 24, 4]',
    ],
    [
      'too few chosen tiles',
      call({ choose: () => x([1, 2, 4, 1]) }),
      'vsaAttention: chosen tiles: wanted shape [B=1, K=2, n=4, keep=2], got [1, 2, 4, 1]',
    ],
  ])('%s', (_, run, message) => {
    expect(() => tf.tidy(run)).toThrow(message);
  });

  it('nothing for a grid smaller than a tile: it is one tile', () => {
    const { tiles, sizes } = tileLayout([1, 1, 2], [4, 4, 4]);
    expect([tiles, [...sizes]]).toEqual([1, [2]]);
  });
});

describe('the other functions refuse', () => {
  const settings = { heads: 2, headDim: 6, ffnDim: 8, layers: 1, inChannels: 2, freqDim: 4 };
  it.each([
    [() => toTiles(x([1, 1, 5, 2]), tileLayout(grid)), 'toTiles: x: wanted shape [B=1, K=1, T=24, d], got [1, 1, 5, 2]'],
    [() => selectTiles(x([1, 1, 2, 3]), 4), 'selectTiles: keep: wanted at most the 3 tiles of the keys, got 4'],
    [
      () => fineStage(x([1, 1, 1, 2, 3]), x([1, 1, 1, 2, 3]), x([1, 1, 1, 2, 3]), tf.zeros([1, 1, 1, 1]), Int32Array.of(2)),
      'fineStage: lists: wanted int32 tiles, got float32',
    ],
    [
      () => fineStage(x([1, 1, 1, 2, 3]), x([1, 1, 1, 2, 3]), x([1, 1, 1, 2, 3]), tf.zeros([1, 1, 1, 1], 'int32'), Int32Array.of(3)),
      'fineStage: sizes: wanted 1 numbers of tokens from 1 to 2, got [3]',
    ],
    [() => capturedMass(x([1, 1, 24, 2]), x([1, 1, 24, 3]), x([1, 1, 2, 1]), tileLayout(grid, tile)), 'capturedMass: k: wanted shape'],
    [() => keepFor(NaN, 3), 'keepFor: sparsity: wanted a finite number'],
    [() => sparsityAt(-1, { sparsity: 0.9, rate: 0.1, interval: 1 }), 'sparsityAt: step: wanted an integer at least 0, got -1'],
    [() => officialSparsityAt(1, { sparsity: 0.9, rate: 0, interval: 1 }), 'officialSparsityAt: rate: wanted a finite number above 0'],
    [() => annealedKeep(0, { from: 4, to: 8, by: 1, every: 1 }), 'annealedKeep: wanted to <= from, got from 4 to 8'],
    [
      () => sparseAttentionFlops({ tokens: 64, heads: 1, headDim: 1, layers: 1 }, { keep: 2, volume: 64 }),
      'sparseAttentionFlops: keep: wanted at most 1 tiles',
    ],
    [() => savingAtShare(0.5, 0), 'savingAtShare: density: wanted a finite number above 0'],
    [() => videoRotaryTables(grid, 5), 'videoRotaryTables: d: wanted an even width of a head, got 5'],
    [() => initWan(new Rng(0), { ...settings, headDim: 5 }), 'headDim'],
  ] as [() => unknown, string][])('%#', (run, message) => {
    expect(() => tf.tidy(() => void run())).toThrow(message);
  });

  it.each([
    [[], {}, 'vsaPacked: grids: wanted the grid of at least one video, got none'],
    [[grid], { keyGrids: [grid, grid] }, 'vsaPacked: keyGrids: wanted the grids of 1 videos, got 2'],
    [[grid, grid], {}, 'vsaPacked: q: wanted shape [B=1, K=2, T=48, d], got [1, 2, 24, 4]'],
    [[grid], { gate: x([1, 2, 23, 4]) }, 'vsaPacked: gate: wanted shape [B=1, K=2, T=24, d], got [1, 2, 23, 4]'],
    [
      [
        [2, 3, 2],
        [2, 3, 2],
      ] as Grid[],
      {},
      'vsaAttention: keep: wanted at most the 2 tiles of the keys, got 3',
    ],
  ] as [Grid[], object, string][])('packed videos that do not fit, %#', (grids, more, message) => {
    const run = () => vsaPacked(tokens(), tokens(), tokens(), { grids, tile, keep: 3, ...more } as PackedOptions);
    expect(() => tf.tidy(run)).toThrow(message);
  });

  it('scores that are not finite, where they can be read', async () => {
    await expect(checkScores(tf.ones([1, 2, 3, 4]))).resolves.toBeUndefined();
    for (const [bad, name] of [
      [NaN, 'NaN'],
      [-Infinity, '-Infinity'],
    ] as const) {
      const values = new Float32Array(24).fill(1);
      values[18] = bad;
      const scores = tf.tensor(values, [1, 2, 3, 4]);
      await expect(checkScores(scores)).rejects.toThrow(
        `checkScores: wanted finite scores, got ${name} for query tile 1 and key tile 2 of head 1, batch entry 0`,
      );
    }
  });

  it('networks and checkpoints that do not fit', () => {
    const dense = initWan(new Rng(0), { ...settings, gate: false });
    const video = x([1, 4, 4, 4, 2]);
    const t = tf.zeros([1]);
    expect(() => retrofitWan(dense, { ...settings, headDim: 8 })).toThrow(
      'retrofitWan: wanted the tensors of the model, got a state dict with misshapen',
    );
    expect(() => retrofitWan(dense, { ...settings, layers: 2 })).toThrow('missing blocks.1.');
    expect(() => retrofitWan(dense, { ...settings, gate: false })).toThrow(
      'retrofitWan: settings: wanted a network with a gate, got one without',
    );
    expect(() => wanFromStateDict({}, settings)).toThrow(
      'wanFromStateDict: wanted the tensors of the model, got a state dict with missing',
    );
    expect(() => applyWan(dense, x([1, 4, 3, 4, 2]), { t }, { ...settings, gate: false }, 'dense')).toThrow(
      'applyWan: x: wanted sides that patches of 1 x 2 x 2 divide, got 4 x 3 x 4',
    );
    expect(() => applyWan(dense, video, { t, text: x([1, 1, 1]) }, { ...settings, gate: false }, 'dense')).toThrow(
      'applyWan: text: wanted none',
    );
    expect(() => applyWan(dense, video, { t }, settings, 'dense')).toThrow(
      "applyWan: attention: wanted a network without a gate for 'dense'",
    );
    expect(() => applyWan(dense, video, { t }, { ...settings, layers: 2 }, { keep: 1 })).toThrow(
      'applyWan: params: wanted 2 blocks, got 1',
    );
    disposeTree(dense as Tree);
    tf.dispose([video, t]);
  });
});
