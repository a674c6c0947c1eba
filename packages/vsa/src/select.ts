import { checkNumber, dims, stopGradient, tf, type Tensor } from '@atelier/tensor';

/**
 * Tiles that a query tile attends to, of n tiles, at a sparsity from 0 to 1: ⌈(1 - s)·n⌉, at least 1 and at most n. It is computed in float64 with its
 * rounding, as the official code does: at s = 0.7 and n = 10 it is 4, because (1 - 0.7)·10 is a little more than 3.
 */
export function keepFor(sparsity: number, tiles: number): number {
  checkNumber('keepFor: sparsity', sparsity, { min: 0, max: 1 });
  checkNumber('keepFor: tiles', tiles, { integer: true, min: 1 });
  return Math.max(1, Math.min(Math.ceil((1 - sparsity) * tiles), tiles));
}

/** How many key tiles each query tile attends to: their number, or the share that is left out. */
export type Keep = { keep: number; sparsity?: undefined } | { sparsity: number; keep?: undefined };

/** The number of selected tiles of `tiles`. @throws Error if neither or both are given, or more tiles than there are */
export function resolveKeep(
  { keep, sparsity }: { keep?: number | undefined; sparsity?: number | undefined },
  tiles: number,
  where: string,
): number {
  if ((keep === undefined) === (sparsity === undefined))
    throw new Error(`${where}: wanted keep or sparsity, got ${keep === undefined ? 'neither' : 'both'}`);
  if (keep === undefined) return keepFor(sparsity!, tiles);
  checkNumber(`${where}: keep`, keep, { integer: true, min: 1 });
  if (keep > tiles) throw new Error(`${where}: keep: wanted at most the ${tiles} tiles of the keys, got ${keep}`);
  return keep;
}

/**
 * The `keep` key tiles with the largest scores for each query tile: scores [B, K, n, m] -> [B, K, n, keep] int32, rising. Of equal scores the tile
 * with the lower number is taken. No gradient flows through a choice.
 */
export function selectTiles(scores: Tensor, keep: number): Tensor {
  const { m } = dims<'m'>(scores, 'B K n m', 'selectTiles: scores');
  resolveKeep({ keep }, m, 'selectTiles');
  const { indices } = tf.topk(stopGradient(scores), keep);
  if (keep === 1) return indices;
  const rising = tf.topk(tf.mul(tf.cast(indices, 'float32'), -1), keep).values;
  return tf.cast(tf.mul(rising, -1), 'int32');
}

/** Lists of tiles as a table of 0 and 1: lists [B, K, n, keep] int32 -> [B, K, n, m] int32, 1 where the query tile attends to the key tile. */
export function selectionMask(lists: Tensor, tiles: number): Tensor {
  const { B, K, n, keep } = dims<'B' | 'K' | 'n' | 'keep'>(lists, 'B K n keep', 'selectionMask: lists');
  const rows = tf.reshape(tf.range(0, B * K * n, 1, 'int32'), [B, K, n, 1]);
  const places = tf.reshape(tf.add(tf.mul(rows, tf.scalar(tiles, 'int32')), lists), [B * K * n * keep, 1]);
  const ones = tf.ones([B * K * n * keep], 'int32');
  return tf.reshape(tf.scatterND(places as tf.Tensor2D, ones, [B * K * n * tiles]), [B, K, n, tiles]);
}
