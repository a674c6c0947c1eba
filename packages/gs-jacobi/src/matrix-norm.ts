import { Matrix, SVD } from 'ml-matrix';

/** Norms of a matrix: the largest singular value (2), the largest absolute column sum (1), or the root of the sum of squares (fro). */
export type NormKind = '2' | '1' | 'fro';
export const normKinds: readonly NormKind[] = ['2', '1', 'fro'];

/** The norm of a matrix [rows, columns] in row-major order, in float64. */
export function matrixNorm(values: ArrayLike<number>, rows: number, columns: number, kind: NormKind): number {
  if (values.length !== rows * columns || rows < 1 || columns < 1)
    throw new Error(`matrixNorm: wanted [${rows}, ${columns}], got ${values.length} values`);
  if (kind === 'fro') {
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
    return Math.sqrt(sum);
  }
  if (kind === '1') {
    const sums = new Float64Array(columns);
    for (let i = 0; i < values.length; i++) sums[i % columns]! += Math.abs(values[i]!);
    return Math.max(...sums);
  }
  if (kind !== '2') throw new Error(`matrixNorm: kind: wanted ${normKinds.map((one) => `'${one}'`).join(', ')}, got '${String(kind)}'`);
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i]!)) return NaN;
  const matrix = Matrix.from1DArray(rows, columns, values);
  // The matrix or its transpose, whichever has at least as many rows as columns: both have the same singular values.
  const upright = rows >= columns ? matrix : matrix.transpose();
  return new SVD(upright, { computeLeftSingularVectors: false, computeRightSingularVectors: false }).norm2;
}
