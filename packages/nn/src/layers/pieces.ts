import { engineName, tf, type Tensor } from '@atelier/tensor';

/**
 * Bytes that the widest activation of a piece may take. Smaller pieces stay nearer to the core, but an operator of less than a tenth of a
 * millisecond is hardly longer than handing half of it to a second thread: of 1, 2, 4 and 8 MiB this was the fastest for DiT blocks.
 */
const PIECE_BYTES = 4 << 20;

/**
 * In how many pieces a batch of B samples is worked through, each with a widest activation of `bytes` a sample. On an engine with a graph a node
 * costs under a microsecond, and activations that stay in cache pay for many; an eager engine takes the batch whole.
 */
export function pieceCount(B: number, bytes: number): number {
  if (engineName() !== 'ort') return 1;
  return Math.min(B, Math.max(1, Math.ceil((B * bytes) / PIECE_BYTES)));
}

/** Sizes of `count` nearly equal parts of `total`. */
export const pieceSizes = (total: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.floor(((i + 1) * total) / count) - Math.floor((i * total) / count));

/** `f` on each piece of an axis of all `xs`, the results, one or a list, side by side again along that axis. */
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
