import { attention } from '@atelier/nn';
import { checkNumber, dims, tf, type Tensor } from '@atelier/tensor';
import { coarseStage, poolTiles } from './coarse.ts';
import { fineStage } from './fine.ts';
import { afterPrefix, fineStageWithPrefix, splitPrefix } from './prefix.ts';
import { resolveKeep, selectTiles, type Keep } from './select.ts';
import { DEFAULT_TILE, fromTiles, tileLayout, toTiles, type Grid, type TileLayout } from './tile.ts';

export type VsaOptions = Keep & {
  /** Frames, rows and columns of the query tokens. */
  grid: Grid;
  /** The same for the keys and values; `grid` if absent. */
  keyGrid?: Grid;
  /** 4 × 4 × 4 if absent. */
  tile?: Grid;
  /**
   * P: number of tokens before those of the video in q, k and v, for example of a text; 0 if absent. All queries see them, besides the tiles that they
   * select, and they see all keys. They have no coarse output: their gates have no effect.
   */
  prefix?: number;
  /** G_c [B, K, T, d]: factor of the coarse output for each token, head and channel. If absent it is 1 everywhere (not 0), as in the official code. */
  gate?: Tensor;
  /** G_f [B, K, T, d]: factor of the fine output; 1 if absent, as in the official code. */
  fineGate?: Tensor;
  /** Another choice of key tiles than the best by their scores: scores [B, K, n, m] and keep -> [B, K, n, keep] int32, all different in a row. */
  choose?: (scores: Tensor, keep: number) => Tensor;
};

/**
 * Video sparse attention, in place of `attention` of a video's tokens in raster order: q [B, K, T, d], k and v [B, K, S, d] -> [B, K, T, d].
 *
 * O = G_c⊙O_c + G_f⊙O_f (Eq. 4 of arXiv 2505.13389). O_c is dense attention between the means of tiles. O_f is attention of each token to the tokens of
 * the `keep` tiles whose means have the largest scores with its own tile. Norms and positions must be applied before. With a prefix, T and S count it too.
 *
 * @throws Error for more tiles than there are, and for grids, heads, widths or gates that do not fit. Inputs that are not finite give NaN
 */
export function vsaAttention(q: Tensor, k: Tensor, v: Tensor, options: VsaOptions): Tensor {
  return vsaStages(q, k, v, options).out;
}

/** All that a call computes, for measurements and tests; what is not used costs nothing in a compiled function. */
export type VsaStages = {
  /** [B, K, T, d]. */
  out: Tensor;
  /** Means of tiles, [B, K, n, d] and [B, K, m, d]. */
  pooled: { q: Tensor; k: Tensor; v: Tensor };
  /** τ·q̄k̄ᵀ, [B, K, n, m]. */
  scores: Tensor;
  /** O_c of each query tile, [B, K, n, d]. */
  coarse: Tensor;
  /** Selected key tiles of each query tile, [B, K, n, keep] int32, rising. */
  lists: Tensor;
  /** O_f in tiles, [B, K, n, E, d]; slots without a token hold numbers without a meaning. */
  fine: Tensor;
  layout: TileLayout;
  keyLayout: TileLayout;
};

/** `vsaAttention` with all intermediate results. */
export function vsaStages(q: Tensor, k: Tensor, v: Tensor, options: VsaOptions): VsaStages {
  const { grid, keyGrid = grid, tile = DEFAULT_TILE, gate, fineGate, choose = selectTiles, prefix: P = 0 } = options;
  checkNumber('vsaAttention: prefix', P, { integer: true, min: 0 });
  const layout = tileLayout(grid, tile);
  const keyLayout = keyGrid === grid ? layout : tileLayout(keyGrid, tile);
  const { B, K, d } = dims<'B' | 'K' | 'd'>(q, 'B K T d', 'vsaAttention: q', { T: P + layout.tokens });
  for (const [name, x] of Object.entries({ k, v })) dims(x, 'B K S d', `vsaAttention: ${name}`, { B, K, S: P + keyLayout.tokens, d });
  for (const [name, x] of Object.entries({ gate, fineGate }))
    if (x !== undefined) dims(x, 'B K T d', `vsaAttention: ${name}`, { B, K, T: P + layout.tokens, d });
  const keep = resolveKeep(options, keyLayout.tiles, 'vsaAttention');

  const [first, video] = splitPrefix({ q, k, v }, P);
  const tiled = { q: toTiles(video.q, layout), k: toTiles(video.k, keyLayout), v: toTiles(video.v, keyLayout) };
  const pooled = { q: poolTiles(tiled.q, layout), k: poolTiles(tiled.k, keyLayout), v: poolTiles(tiled.v, keyLayout) };
  const { scores, out: coarse } = coarseStage(pooled.q, pooled.k, pooled.v);
  const lists = choose(scores, keep);
  dims(lists, 'B K n keep', 'vsaAttention: chosen tiles', { B, K, n: layout.tiles, keep });
  const fine = first
    ? fineStageWithPrefix(tiled, first, lists, keyLayout.sizes)
    : fineStage(tiled.q, tiled.k, tiled.v, lists, keyLayout.sizes);

  const perTile = tf.reshape(coarse, [B, K, layout.tiles, 1, d]); // the same for all tokens of a tile
  const weighed = (x: Tensor, factor?: Tensor): Tensor => (factor ? tf.mul(toTiles(afterPrefix(factor, P), layout), x) : x);
  const tokens = fromTiles(tf.add(weighed(fine, fineGate), weighed(perTile, gate)), layout);
  const out = first ? tf.concat([attention(first.q, k, v), tokens], 2) : tokens;
  return { out, pooled, scores, coarse, lists, fine, layout, keyLayout };
}
