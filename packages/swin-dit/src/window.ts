import { checkNumber, dims, type Tensor, tf } from '@atelier/tensor';

/** A token grid of h rows and w columns, tokens in row-major order. */
export type Grid = { h: number; w: number };

/** Rows and columns of a window, in tokens; one number for a square window. */
export type WindowSize = number | readonly [rows: number, columns: number];

/**
 * Side of the windows of a grid: the wanted side M, or the smaller side of the grid if that is not larger than M (as in Swin).
 *
 * @throws Error if the windows do not divide the grid; it lists the sides that would fit
 */
export function windowSide({ h, w }: Grid, wanted: number, where = 'windowSide'): number {
  checkNumber(`${where}: window`, wanted, { integer: true, min: 1 });
  for (const [name, side] of Object.entries({ h, w })) checkNumber(`${where}: grid ${name}`, side, { integer: true, min: 1 });
  const M = Math.min(wanted, h, w);
  if (h % M === 0 && w % M === 0) return M;
  const fitting = Array.from({ length: Math.min(h, w) }, (_, i) => i + 1).filter((side) => h % side === 0 && w % side === 0);
  throw new Error(`${where}: window: wanted a common divisor of the grid's sides ${h} and ${w} (${fitting.join(', ')}), got ${M}`);
}

/** Cuts a grid into windows: [B, H, W, C] -> [B·n, M₁, M₂, C]; the n windows of an image come row by row. */
export function windowPartition(x: Tensor, size: WindowSize): Tensor {
  const { B, H, W, C } = dims<'B' | 'H' | 'W' | 'C'>(x, 'B H W C', 'windowPartition: x');
  const [m, n] = sides(size, { h: H, w: W }, 'windowPartition');
  const parted = tf.transpose(tf.reshape(x, [B, H / m, m, W / n, n * C]), [0, 1, 3, 2, 4]); // -> [B, H/m, W/n, m, n·C]
  return tf.reshape(parted, [(B * H * W) / (m * n), m, n, C]);
}

/** Puts windows back together, the inverse of `windowPartition`: [B·n, M₁, M₂, C] -> [B, h, w, C]. */
export function windowReverse(windows: Tensor, { h, w }: Grid): Tensor {
  const { N, m, n, C } = dims<'N' | 'm' | 'n' | 'C'>(windows, 'N m n C', 'windowReverse: windows');
  sides([m, n], { h, w }, 'windowReverse');
  const B = (N * m * n) / (h * w);
  if (!Number.isInteger(B)) throw new Error(`windowReverse: windows: wanted a multiple of ${(h * w) / (m * n)} windows, got ${N}`);
  const parted = tf.transpose(tf.reshape(windows, [B, h / m, w / n, m, n * C]), [0, 1, 3, 2, 4]); // -> [B, h/m, m, w/n, n·C]
  return tf.reshape(parted, [B, h, w, C]);
}

function sides(size: WindowSize, { h, w }: Grid, where: string): readonly [number, number] {
  const [m, n] = typeof size === 'number' ? [size, size] : size;
  for (const [name, [side, whole]] of Object.entries({ rows: [m, h], columns: [n, w] } as const)) {
    checkNumber(`${where}: ${name} of a window`, side, { integer: true, min: 1 });
    if (whole % side !== 0) throw new Error(`${where}: wanted ${name} of a window that divide the grid's ${whole}, got ${side}`);
  }
  return [m, n];
}

/**
 * Tokens of a grid to the heads of windows in one transpose: x [B, h·w, a·d] -> [B·n, a, M², d], n = (h/M)·(w/M). Token (i, j) is in window
 * (⌊i/M⌋, ⌊j/M⌋) at place (i mod M)·M + (j mod M).
 */
export function splitWindowHeads(x: Tensor, { h, w }: Grid, M: number, heads: number): Tensor {
  const { B, C } = dims<'B' | 'C'>(x, 'B T C', 'splitWindowHeads: x', { T: h * w });
  const parted = tf.reshape(x, [(B * h) / M, M, w / M, M, heads, C / heads]);
  const turned = tf.transpose(parted, [0, 2, 4, 1, 3, 5]); // -> [B·h/M, w/M, a, M, M, d]
  return tf.reshape(turned, [(B * h * w) / (M * M), heads, M * M, C / heads]);
}

/** Back to the tokens of the grid, the inverse of `splitWindowHeads`: [B·n, a, M², d] -> [B, h·w, a·d]. */
export function mergeWindowHeads(x: Tensor, { h, w }: Grid, M: number): Tensor {
  const { N, a, d } = dims<'N' | 'a' | 'd'>(x, 'N a n d', 'mergeWindowHeads: x', { n: M * M });
  const B = (N * M * M) / (h * w);
  const parted = tf.transpose(tf.reshape(x, [(B * h) / M, w / M, a, M, M, d]), [0, 3, 1, 4, 2, 5]); // -> [B·h/M, M, w/M, M, a, d]
  return tf.reshape(parted, [B, h * w, a * d]);
}
