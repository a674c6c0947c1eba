import { dims, tf, type Tensor } from '@atelier/tensor';

/** Longest period of the rotations, divided by 2π. */
const THETA = 10000;

/**
 * Rotary positions along one axis: each pair of neighbouring channels (2i, 2i + 1) of the token at position n is rotated by the angle n·θ^(-2i/d).
 * The product of a query and a key then depends on the difference of their positions (arXiv 2104.09864).
 *
 * @param x [B, K, T, d] float32, d even
 */
export function rotate(x: Tensor): Tensor {
  const { T, d } = dims<'T' | 'd'>(x, 'B K T d', 'rotate: x');
  if (d % 2 !== 0) throw new Error(`rotate: x: wanted an even width of a head, got ${d}`);
  const angle = (position: number, channel: number): number => position * THETA ** (-(channel - (channel % 2)) / d);
  const table = (f: (angle: number) => number): Tensor =>
    tf.tensor(
      Float32Array.from({ length: T * d }, (_, i) => f(angle(Math.floor(i / d), i % d))),
      [T, d],
    );
  return rotatePairs(x, table(Math.cos), table(Math.sin));
}

/**
 * Rotates each pair of neighbouring channels (2i, 2i + 1) of each token by its own angle: (a, b) -> (a·cos - b·sin, b·cos + a·sin).
 *
 * @param x [B, K, T, d] float32, d even
 * @param cos cosines of the angles [T, d], each twice
 * @param sin sines of the angles [T, d], each twice
 */
export function rotatePairs(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const { B, K, T, d } = dims<'B' | 'K' | 'T' | 'd'>(x, 'B K T d', 'rotatePairs: x');
  if (d % 2 !== 0) throw new Error(`rotatePairs: x: wanted an even width of a head, got ${d}`);
  dims(cos, 'T d', 'rotatePairs: cos', { T, d });
  dims(sin, 'T d', 'rotatePairs: sin', { T, d });
  // (a, b) -> (-b, a) for every pair, computed by a matrix of zeros and ±1. The product is exact, and its derivative uses the transposed matrix.
  const quarterTurn = tf.tensor(
    Float32Array.from({ length: d * d }, (_, i) => {
      const [from, to] = [Math.floor(i / d), i % d];
      if (from === to + 1 && to % 2 === 0) return -1;
      return to === from + 1 && from % 2 === 0 ? 1 : 0;
    }),
    [d, d],
  );
  const turned = tf.reshape(tf.matMul(tf.reshape(x, [B * K * T, d]), quarterTurn), [B, K, T, d]);
  return tf.add(tf.mul(x, cos), tf.mul(turned, sin));
}
