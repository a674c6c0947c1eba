import { checkNumber } from '@atelier/nn';
import { dims, tf, type Tensor } from '@atelier/tensor';

/** A linear map of one axis: rows × columns numbers, row by row. */
export type AxisMap = { rows: number; columns: number; data: Float32Array };

/**
 * Averages H numbers to p (adaptive average pooling): output i is the mean over floor(iH/p) ≤ j < ceil((i+1)H/p). Neighbouring windows overlap where p does
 * not divide H; p = H is the identity.
 */
export function areaMap(H: number, p: number): AxisMap {
  checkNumber('areaMap: H', H, { integer: true, min: 1 });
  checkNumber('areaMap: p', p, { integer: true, min: 1 });
  const data = new Float32Array(p * H);
  for (let i = 0; i < p; i++) {
    const first = Math.floor((i * H) / p);
    const end = Math.ceil(((i + 1) * H) / p);
    data.fill(1 / (end - first), i * H + first, i * H + end);
  }
  return { rows: p, columns: H, data };
}

/** Keys' cubic with a = -0.75: |x| ≤ 1 and 1 < |x| < 2. */
const A = -0.75;
const near = (x: number): number => ((A + 2) * x - (A + 3)) * x * x + 1;
const far = (x: number): number => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;

/**
 * Bicubic interpolation of p numbers to H with half-pixel centres, no antialiasing, and the border's number outside (`F.interpolate`, `align_corners=False`):
 * output i reads at s = (i + ½)p/H - ½. Each row sums to 1; p = H is the identity.
 */
export function bicubicMap(p: number, H: number): AxisMap {
  checkNumber('bicubicMap: p', p, { integer: true, min: 1 });
  checkNumber('bicubicMap: H', H, { integer: true, min: 1 });
  const data = new Float64Array(H * p);
  for (let i = 0; i < H; i++) {
    const s = ((i + 0.5) * p) / H - 0.5;
    const f = Math.floor(s);
    const t = s - f;
    [far(t + 1), near(t), near(1 - t), far(2 - t)].forEach((weight, tap) => {
      const j = Math.min(Math.max(f - 1 + tap, 0), p - 1);
      data[i * p + j]! += weight;
    });
  }
  return { rows: H, columns: p, data: Float32Array.from(data) };
}

/** The same map along rows and along columns: [B, H, H, C] -> [B, rows, rows, C] with H = `columns`. */
export function resample(x: Tensor, map: AxisMap): Tensor {
  const { rows: p, columns: H } = map;
  const { B, C } = dims<'B' | 'C'>(x, 'B H H C', 'resample: x', { H });
  const matrix = tf.tensor3d(map.data, [1, p, H]);
  const along = tf.matMul(matrix, tf.reshape(x, [B, H, H * C])); // -> [B, p, H·C]
  return tf.reshape(tf.matMul(matrix, tf.reshape(along, [B * p, H, C])), [B, p, p, C]); // -> [B·p, p, C]
}

/** [B, H, H, C] -> [B, p, p, C] by averages. */
export function areaResample(x: Tensor, p: number): Tensor {
  const H = x.shape[1] ?? 0;
  return p === H ? x : resample(x, areaMap(H, p));
}

/** [B, p, p, C] -> [B, H, H, C] by bicubic interpolation. */
export function bicubicResample(x: Tensor, H: number): Tensor {
  const p = x.shape[1] ?? 0;
  return p === H ? x : resample(x, bicubicMap(p, H));
}
