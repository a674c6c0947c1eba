import { dims, tf, type Tensor } from '@atelier/tensor';
import type { TileLayout } from './tile.ts';

/** The mean of the real tokens of each tile: tiles [B, K, n, E, d], whose other slots are 0 -> [B, K, n, d]. */
export function poolTiles(tiles: Tensor, { sizes }: Pick<TileLayout, 'sizes'>): Tensor {
  const { n } = dims<'n'>(tiles, 'B K n E d', 'poolTiles: tiles', { n: sizes.length });
  const share = tf.tensor(
    Float32Array.from(sizes, (size) => 1 / size),
    [n, 1],
  );
  return tf.mul(tf.sum(tiles, 3), share);
}

/** What the coarse stage gives, one row for each query tile. */
export type Coarse = {
  /** A = τ·q̄k̄ᵀ, [B, K, n, m]. */
  scores: Tensor;
  /** softmax(A)·v̄, [B, K, n, d]. */
  out: Tensor;
};

/**
 * Dense attention between the means of tiles: q̄ [B, K, n, d], k̄ and v̄ [B, K, m, d]. Every key tile has the same weight before the scores, also if it
 * has fewer tokens than another.
 */
export function coarseStage(queries: Tensor, keys: Tensor, values: Tensor): Coarse {
  const { B, K, d } = dims<'B' | 'K' | 'd'>(queries, 'B K n d', 'coarseStage: queries');
  const { m } = dims<'m'>(keys, 'B K m d', 'coarseStage: keys', { B, K, d });
  dims(values, 'B K m e', 'coarseStage: values', { B, K, m });
  const scores = tf.mul(tf.matMul(queries, keys, false, true), d ** -0.5);
  return { scores, out: tf.matMul(tf.softmax(scores), values) };
}
