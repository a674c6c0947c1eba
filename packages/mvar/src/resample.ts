import { checkNumber, dims, tf, type Tensor } from '@atelier/tensor';

/** A linear map along one axis, as a matrix of rows × columns numbers, row by row: `columns` inputs, `rows` outputs. */
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

/** Keys' cubic interpolation kernel (R. Keys, 1981) with a = -0.75: `near` for |x| ≤ 1, `far` for 1 < |x| < 2, x in input pixels. */
const A = -0.75;
const near = (x: number): number => ((A + 2) * x - (A + 3)) * x * x + 1;
const far = (x: number): number => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;

/**
 * Cubic interpolation from p numbers to H, as PyTorch's `F.interpolate(mode='bicubic', align_corners=False)` along one axis: output i is read at the
 * input position s = (i + ½)p/H - ½, there is no antialiasing, and outside the number at the border is repeated. Each row sums to 1; p = H is the identity.
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

/** Applies one map along both axes of a square grid: [B, H, H, C] -> [B, p, p, C], with H = `map.columns` and p = `map.rows`. */
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
