import { Matrix } from 'ml-matrix';
import { eigen } from './eigen.ts';
import { countSamples, type Samples } from './samples.ts';

/** Mean [dim] and covariance [dim, dim] (row-major) in float64. */
export type GaussianMoments = { mean: Float64Array; covariance: Float64Array };

/**
 * Mean and unbiased covariance (divisor n - 1) of a sample set, in float64.
 *
 * @param samples [n, dim] flattened, n of at least 2.
 * @throws Error if the size is wrong or a value is not finite.
 */
export function gaussianMoments(samples: Samples, dim: number): GaussianMoments {
  const n = countSamples('gaussianMoments', samples, dim, 2);
  const mean = new Float64Array(dim);
  for (let i = 0; i < samples.length; i++) mean[i % dim]! += samples[i]! / n;
  const covariance = new Float64Array(dim * dim);
  const row = new Float64Array(dim);
  for (let at = 0; at < samples.length; at += dim) {
    for (let j = 0; j < dim; j++) row[j] = samples[at + j]! - mean[j]!;
    for (let j = 0; j < dim; j++) {
      const scaled = row[j]! / (n - 1);
      for (let k = j; k < dim; k++) covariance[j * dim + k]! += scaled * row[k]!;
    }
  }
  for (let j = 0; j < dim; j++) for (let k = 0; k < j; k++) covariance[j * dim + k] = covariance[k * dim + j]!;
  return { mean, covariance };
}

/**
 * Fréchet distance (squared 2-Wasserstein distance) of two Gaussians:
 * |m₁ - m₂|² + tr S₁ + tr S₂ - 2·tr (S₁^½ S₂ S₁^½)^½   (Eq. 6, arXiv 1706.08500, with the symmetric form of tr (S₁S₂)^½).
 *
 * Both matrices whose roots are taken are symmetric, so their eigenvalues are real, even if a covariance is singular.
 *
 * @throws Error if sizes differ, a value is not finite, or a covariance is not symmetric and positive semidefinite (up to rounding).
 */
export function frechetDistanceOfGaussians(a: GaussianMoments, b: GaussianMoments): number {
  const dim = a.mean.length;
  const s1 = covarianceMatrix('a', a, dim);
  const s2 = covarianceMatrix('b', b, dim);
  const rootTrace = traceOfRoot(s1, s2);
  const shift = a.mean.reduce((sum, value, i) => sum + (value - b.mean[i]!) ** 2, 0);
  // For equal Gaussians, rounding can give a number slightly below 0, which would be misleading.
  return Math.max(0, shift + s1.trace() + s2.trace() - 2 * rootTrace);
}

/**
 * Fréchet distance between the Gaussians fitted to two sample sets.
 *
 * @param a, b [n, dim] and [m, dim] flattened, at least two samples each.
 * @throws Error as `gaussianMoments` and `frechetDistanceOfGaussians`.
 */
export function frechetDistance(a: Samples, b: Samples, dim: number): number {
  return frechetDistanceOfGaussians(gaussianMoments(a, dim), gaussianMoments(b, dim));
}

function covarianceMatrix(name: string, { mean, covariance }: GaussianMoments, dim: number): Matrix {
  const where = `frechetDistanceOfGaussians: ${name}`;
  if (dim < 1 || mean.length !== dim) throw new Error(`${where}: wanted a mean of ${Math.max(1, dim)} numbers, got ${mean.length}`);
  if (covariance.length !== dim * dim) throw new Error(`${where}: wanted a covariance [${dim}, ${dim}], got ${covariance.length} numbers`);
  for (const [field, values] of Object.entries({ mean, covariance })) {
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw new Error(`${where}: wanted a finite ${field}, got ${values[bad]} at ${bad}`);
  }
  const matrix = Matrix.from1DArray(dim, dim, covariance);
  const largest = matrix.max();
  for (let j = 0; j < dim; j++) {
    for (let k = 0; k < j; k++) {
      const [lower, upper] = [matrix.get(j, k), matrix.get(k, j)];
      if (Math.abs(lower - upper) > 1e-8 * largest)
        throw new Error(`${where}: wanted a symmetric covariance, got ${lower} at [${j}, ${k}] and ${upper} at [${k}, ${j}]`);
    }
  }
  return symmetrised(matrix);
}

function symmetrised(matrix: Matrix): Matrix {
  return Matrix.add(matrix, matrix.transpose()).mul(0.5);
}

/** tr (S₁S₂)^½ of two covariances. */
function traceOfRoot(s1: Matrix, s2: Matrix): number {
  const [a, b] = [spectrum('a', s1), spectrum('b', s2)];
  if (a.scale === 0 || b.scale === 0) return 0;
  // With S = scale·U: U₁^½ = V·diag(√λ)·Vᵀ
  const root = a.vectors.clone().mulRowVector(a.values.map(Math.sqrt)).mmul(a.vectors.transpose());
  const inner = symmetrised(root.mmul(b.unit).mmul(root));
  const noise = s1.rows * Number.EPSILON * Math.max(...a.values) * Math.max(...b.values);
  const sum = eigen(inner).values.reduce((total, value) => total + (value > noise ? Math.sqrt(value) : 0), 0);
  return Math.sqrt(a.scale) * Math.sqrt(b.scale) * sum;
}

/** A covariance as scale·unit, and the eigenvalues (those that are 0 up to rounding set to 0) and eigenvectors (columns) of unit. */
type Spectrum = { scale: number; unit: Matrix; values: number[]; vectors: Matrix };

function spectrum(name: string, covariance: Matrix): Spectrum {
  const scale = Math.max(covariance.max(), -covariance.min());
  const unit = scale === 0 ? covariance : Matrix.div(covariance, scale);
  const { values, vectors } = eigen(unit);
  const largest = values.reduce((top, value) => Math.max(top, Math.abs(value)), 0);
  const least = values.reduce((low, value) => Math.min(low, value), Infinity);
  // Below 1e-308 numbers are rounded to multiples of Number.MIN_VALUE, which no relative bound covers.
  const rounding = Math.max(1e-6 * largest, (unit.rows * Number.MIN_VALUE) / scale);
  if (least < -rounding) {
    throw new Error(
      `frechetDistanceOfGaussians: wanted ${name} with a positive semidefinite covariance, got the eigenvalue ${least * scale} beside ${largest * scale}`,
    );
  }
  // The square root of a rounding error of 1e-16 would be 1e-8.
  const noise = unit.rows * Number.EPSILON * largest;
  return { scale, unit, values: values.map((value) => (value > noise ? value : 0)), vectors };
}
