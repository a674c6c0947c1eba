import { dims, tf, type Tensor } from '@atelier/tensor';
import { downsampleMean, upsampleNearest } from './resize.ts';

/** Weights of a separable low-pass, of even length: [1, 1] (mean of two, or each pixel twice) or [1, 3, 3, 1] (linear interpolation), say. */
export type ResampleFilter = readonly number[];

/**
 * Half the size through a low-pass f, zeros outside: on each axis y_i = Σ_k f_k·x_{2i + k - p} / Σf with p = (length - 2)/2,
 * [B, H, W, C] -> [B, H/2, W/2, C] (the resampling of EDM's networks, arXiv 2206.00364).
 *
 * @throws Error unless both sides are even and the filter has an even number of weights with a sum other than 0
 */
export function downsample(x: Tensor, filter: ResampleFilter): Tensor {
  const { H, W } = dims<'H' | 'W'>(x, 'B H W C', 'downsample: x');
  checkFilter(filter, 'downsample');
  for (const [side, size] of Object.entries({ H, W }))
    if (size % 2 !== 0) throw new Error(`downsample: x: wanted an even ${side}, got ${size}`);
  if (isBox(filter)) return downsampleMean(x, 2);
  return alongColumns(halving(W, filter), alongRows(halving(H, filter), x));
}

/** Twice the size, the transpose of `downsample` times 2 on each axis: [B, H, W, C] -> [B, 2H, 2W, C]. */
export function upsample(x: Tensor, filter: ResampleFilter): Tensor {
  const { H, W } = dims<'H' | 'W'>(x, 'B H W C', 'upsample: x');
  checkFilter(filter, 'upsample');
  if (isBox(filter)) return upsampleNearest(x, 2);
  return alongColumns(doubling(W, filter), alongRows(doubling(H, filter), x));
}

/** Throws unless the filter can be used. */
function checkFilter(filter: ResampleFilter, where: string): void {
  const total = filter.reduce((a, b) => a + b, 0);
  if (filter.length >= 2 && filter.length % 2 === 0 && Number.isFinite(total) && total !== 0) return;
  throw new Error(`${where}: filter: wanted an even number of weights with a sum other than 0, got [${filter.join(', ')}]`);
}

const isBox = (filter: ResampleFilter): boolean => filter.length === 2 && filter[0] === filter[1];

/** The matrix [n/2, n] of `downsample` on an axis of n pixels. A product with it costs less than one channel's part of a 3 × 3 convolution. */
function halving(n: number, filter: ResampleFilter): Tensor {
  return tf.tensor(weights(n / 2, n, filter, 1), [1, n / 2, n]);
}

/** The matrix [2n, n] of `upsample`. */
function doubling(n: number, filter: ResampleFilter): Tensor {
  return tf.transpose(tf.tensor(weights(n, 2 * n, filter, 2), [1, n, 2 * n]), [0, 2, 1]);
}

function weights(few: number, many: number, filter: ResampleFilter, gain: number): Float32Array {
  const total = filter.reduce((a, b) => a + b, 0);
  const pad = (filter.length - 2) / 2;
  return Float32Array.from({ length: few * many }, (_, at) => {
    const [i, j] = [Math.floor(at / many), at % many];
    return (gain * (filter[j - 2 * i + pad] ?? 0)) / total;
  });
}

/** A matrix [1, m, H] on the rows of x: [B, H, W, C] -> [B, m, W, C]. */
function alongRows(matrix: Tensor, x: Tensor): Tensor {
  const [B, H, W, C] = x.shape as [number, number, number, number];
  return tf.reshape(tf.matMul(matrix, tf.reshape(x, [B, H, W * C])), [B, matrix.shape[1]!, W, C]);
}

/** A matrix [1, m, W] on the columns of x: [B, H, W, C] -> [B, H, m, C]. */
function alongColumns(matrix: Tensor, x: Tensor): Tensor {
  const [B, H, W, C] = x.shape as [number, number, number, number];
  return tf.reshape(tf.matMul(matrix, tf.reshape(x, [B * H, W, C])), [B, H, matrix.shape[1]!, C]);
}
