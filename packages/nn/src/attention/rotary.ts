import { dims, tf, type Tensor } from '@atelier/tensor';

/** Longest period of the rotations over 2π. */
const THETA = 10000;

/**
 * Rotary positions along one axis: pairs of neighbouring channels (2i, 2i + 1) of the token at position n turn by the angle n·θ^(-2i/d), so that
 * the product of a query and a key depends on the difference of their positions (arXiv 2104.09864).
 *
 * @param x [B, K, T, d] float32, d even
 */
export function rotate(x: Tensor): Tensor {
  const { B, K, T, d } = dims<'B' | 'K' | 'T' | 'd'>(x, 'B K T d', 'rotate: x');
  if (d % 2 !== 0) throw new Error(`rotate: x: wanted an even width of a head, got ${d}`);
  const angle = (position: number, channel: number): number => position * THETA ** (-(channel - (channel % 2)) / d);
  const table = (f: (angle: number) => number): Tensor =>
    tf.tensor(
      Float32Array.from({ length: T * d }, (_, i) => f(angle(Math.floor(i / d), i % d))),
      [T, d],
    );
  // (a, b) -> (-b, a) for every pair, as a product with a matrix of zeros and ±1: exact, and its derivative is its transpose.
  const quarterTurn = tf.tensor(
    Float32Array.from({ length: d * d }, (_, i) => {
      const [from, to] = [Math.floor(i / d), i % d];
      if (from === to + 1 && to % 2 === 0) return -1;
      return to === from + 1 && from % 2 === 0 ? 1 : 0;
    }),
    [d, d],
  );
  const turned = tf.reshape(tf.matMul(tf.reshape(x, [B * K * T, d]), quarterTurn), [B, K, T, d]);
  return tf.add(tf.mul(x, table(Math.cos)), tf.mul(turned, table(Math.sin)));
}
