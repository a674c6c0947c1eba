import { EigenvalueDecomposition, Matrix } from 'ml-matrix';

/** Eigenvalues, ascending, and an orthonormal eigenvector of each: column i of `vectors` [n, n] flattened belongs to value i. */
export type Spectrum = { values: Float64Array; vectors: Float64Array };

/** The spectrum of a symmetric matrix [n, n] flattened, in float64. @throws Error if it is not square, finite and symmetric */
export function symmetricSpectrum(matrix: Float64Array): Spectrum {
  const n = Math.sqrt(matrix.length);
  if (!Number.isInteger(n) || n < 1) throw new Error(`symmetricSpectrum: wanted a square matrix, got ${matrix.length} numbers`);
  const scale = matrix.reduce((top, value) => Math.max(top, Math.abs(value)), 0);
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      const [a, b] = [matrix[i * n + j]!, matrix[j * n + i]!];
      if (!(Math.abs(a - b) <= 1e-9 * scale))
        throw new Error(`symmetricSpectrum: wanted a symmetric matrix, got ${a} and ${b} at ${i}, ${j}`);
    }
  if (scale === 0) return { values: new Float64Array(n), vectors: Float64Array.from(Matrix.eye(n, n).to1DArray()) };
  const unit = Matrix.from1DArray(n, n, matrix).div(scale);
  const { values, vectors } = eigen(unit);
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!);
  return {
    values: Float64Array.from(order, (i) => values[i]! * scale),
    vectors: Float64Array.from({ length: n * n }, (_, k) => vectors.get(Math.floor(k / n), order[k % n]!)),
  };
}

/** Eigenvalues and eigenvectors of a symmetric matrix of entries up to about 1. */
export function eigen(matrix: Matrix): { values: number[]; vectors: Matrix } {
  // These entries are too small to change an eigenvalue. Their squares are subnormal, and the decomposition would divide by 0.
  const clean = matrix.clone();
  clean.apply((i, j) => {
    if (Math.abs(clean.get(i, j)) < Number.EPSILON ** 2) clean.set(i, j, 0);
  });
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(clean, { assumeSymmetric: true });
  return { values: realEigenvalues, vectors: eigenvectorMatrix };
}
