import { checkNumber, dims, tf, type Tensor } from '@atelier/tensor';

/** Longest period of the rotations, divided by 2π. */
const THETA = 10000;

/** Cosines and sines of the angle of every channel of every token, [T, d]; the two channels of a pair have the same angle. */
export type RotaryTables = { cos: Tensor; sin: Tensor };

/**
 * Angles of tokens on a grid of any number of axes, in row-major order (arXiv 2104.09864). The first `widths[0]` channels of a head turn with
 * the position on the first axis, the next `widths[1]` with that on the second, and so on: pair m of D channels by position·10000^(-2m/D). The product of a query and
 * a key then depends on the differences of their positions. Computed in float64.
 *
 * @param grid tokens along each axis
 * @param widths channels for each axis, even numbers; their sum is d
 */
export function rotaryTables(grid: readonly number[], widths: readonly number[]): RotaryTables {
  if (grid.length === 0 || grid.length !== widths.length)
    throw new Error(`rotaryTables: wanted as many widths as axes, got widths [${widths.join(', ')}] and a grid [${grid.join(', ')}]`);
  grid.forEach((size, axis) => checkNumber(`rotaryTables: tokens along axis ${axis}`, size, { integer: true, min: 1 }));
  widths.forEach((width, axis) => {
    checkNumber(`rotaryTables: channels of axis ${axis}`, width, { integer: true, min: 0 });
    if (width % 2 !== 0) throw new Error(`rotaryTables: channels of axis ${axis}: wanted an even number, got ${width}`);
  });
  const [T, d] = [grid.reduce((a, b) => a * b, 1), widths.reduce((a, b) => a + b, 0)];
  const angles = new Float64Array(T * d);
  for (let token = 0; token < T; token++) {
    let [rest, end] = [token, d];
    // The last axis runs fastest, and its channels are the last ones.
    for (let axis = grid.length - 1; axis >= 0; axis--) {
      const [width, position] = [widths[axis]!, rest % grid[axis]!];
      rest = Math.floor(rest / grid[axis]!);
      end -= width;
      for (let c = 0; c < width; c++) angles[token * d + end + c] = position * THETA ** (-(c - (c % 2)) / width);
    }
  }
  const table = (f: (angle: number) => number): Tensor => tf.tensor2d(Float32Array.from(angles, f), [T, d]);
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

/**
 * Rotary positions along one axis: queries or keys turned by the places of their tokens.
 *
 * @param x [B, K, T, d] float32, d even
 */
export function rotate(x: Tensor): Tensor {
  const { T, d } = dims<'T' | 'd'>(x, 'B K T d', 'rotate: x');
  if (d % 2 !== 0) throw new Error(`rotate: x: wanted an even width of a head, got ${d}`);
  const { cos, sin } = rotaryTables([T], [d]);
  return rotatePairs(x, cos, sin);
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
