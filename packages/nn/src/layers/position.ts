import { checkNumber, type Tensor, tf } from '@atelier/tensor';

/**
 * Fixed sine-cosine positions of an h × w grid in row-major order: [h·w, D] float32, computed in float64.
 *
 * With ω_k = 10000^(-k/(D/4)), k = 0 … D/4-1, the token in row i and column j gets [sin jω, cos jω, sin iω, cos iω]: the first half encodes
 * the column (facebookresearch/DiT models.py:274). Positions are integers from 0, not scaled by the grid.
 */
export function sinCosPositions(h: number, w: number, D: number): Tensor {
  return tf.tensor2d(sinCosTable(h, w, D), [h * w, D]);
}

/** The same on the host. */
export function sinCosTable(h: number, w: number, D: number): Float32Array {
  checkNumber('sinCosPositions: h', h, { integer: true, min: 1 });
  checkNumber('sinCosPositions: w', w, { integer: true, min: 1 });
  checkNumber('sinCosPositions: D', D, { integer: true, min: 4 });
  if (D % 4 !== 0) throw new Error(`sinCosPositions: D: wanted a multiple of 4, got ${D}`);
  const quarter = D / 4;
  const axis = Array.from({ length: Math.max(h, w) }, (_, position) => {
    const half = new Float32Array(2 * quarter);
    for (let k = 0; k < quarter; k++) {
      const angle = position * 10000 ** (-k / quarter);
      half[k] = Math.sin(angle);
      half[quarter + k] = Math.cos(angle);
    }
    return half;
  });
  const table = new Float32Array(h * w * D);
  for (let i = 0; i < h; i++) {
    for (let j = 0; j < w; j++) {
      table.set(axis[j]!, (i * w + j) * D);
      table.set(axis[i]!, (i * w + j) * D + 2 * quarter);
    }
  }
  return table;
}
