import { engineName, tf, type Tensor } from '@atelier/tensor';

/**
 * Bytes that the widest activation of a piece may take. Smaller pieces fit a faster cache. But if an operator takes less than a tenth of a
 * millisecond, it costs nearly as much to give half of it to a second thread. Of 1, 2, 4 and 8 MiB this was the fastest for DiT blocks.
 */
const PIECE_BYTES = 4 << 20;

/**
 * The number of pieces that a batch of B samples is cut into, if the widest activation has `bytes` per sample. On an engine with a graph a node
 * costs less than a microsecond, so the gain from activations that stay in cache is larger. An eager engine takes the whole batch.
 */
export function pieceCount(B: number, bytes: number): number {
  if (engineName() !== 'ort') return 1;
  return Math.min(B, Math.max(1, Math.ceil((B * bytes) / PIECE_BYTES)));
}

/** Sizes of `count` nearly equal parts of `total`. */
export const pieceSizes = (total: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.floor(((i + 1) * total) / count) - Math.floor((i * total) / count));

/** Applies `f` to each piece of all `xs` along an axis, and concatenates the results (one tensor or a list of tensors) along that axis. */
export function inPieces<R extends Tensor | Tensor[]>(
  xs: readonly Tensor[],
  count: number,
  axis: number,
  f: (...pieces: Tensor[]) => R,
): R {
  if (count === 1) return f(...xs);
  const sizes = pieceSizes(xs[0]!.shape[axis]!, count);
  const split = xs.map((x) => tf.split(x, sizes, axis));
  const results = sizes.map((_, i) => f(...split.map((parts) => parts[i]!)));
  if (!Array.isArray(results[0])) return tf.concat(results as Tensor[], axis) as R;
  return results[0].map((_, part) =>
    tf.concat(
      results.map((result) => (result as Tensor[])[part]!),
      axis,
    ),
  ) as R;
}
