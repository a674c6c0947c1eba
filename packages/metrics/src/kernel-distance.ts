import { forGramRows } from './gram.ts';
import { countSamples, type Samples } from './samples.ts';

/** An estimate and the standard deviation that it would have over other samples of the same size. */
export type Estimate = { value: number; standardError: number };

/**
 * Kernel distance (squared maximum mean discrepancy) with the kernel k(x, y) = (x·y/dim + 1)³, which is the KID when the samples are Inception features
 * (arXiv 1801.01401). The estimate is unbiased: for two sets of the same density its mean is 0, so single values may be negative.
 *
 * It is computed over all pairs. The standard error is that of the jackknife, which leaves out one sample at a time. (Official programs report the mean over 100 random
 * subsets of 1000 samples instead; the two estimate the same number.)
 *
 * @param a, b [n, dim] and [m, dim] flattened, at least 3 samples each; the products come from the engine in float32, all sums are float64
 * @throws Error if an argument has a wrong size or a value is not finite
 */
export async function kernelDistance(a: Samples, b: Samples, dim: number): Promise<Estimate> {
  const n = countSamples('kernelDistance: a', a, dim, 3);
  const m = countSamples('kernelDistance: b', b, dim, 3);
  const [x, y] = [Float32Array.from(a), Float32Array.from(b)];
  const within = [await rowSums(x, x, dim, true), await rowSums(y, y, dim, true)] as const;
  const across = await rowSums(x, y, dim, false);
  const sums = [total(within[0].rows), total(within[1].rows)] as const;
  const cross = total(across.rows);
  const value = combine(sums[0], sums[1], cross, n, m);
  // Without sample i of a set, its pairs are missing twice within the set and once across.
  const withoutA = within[0].rows.map((row, i) => combine(sums[0] - 2 * row, sums[1], cross - across.rows[i]!, n - 1, m));
  const withoutB = within[1].rows.map((row, j) => combine(sums[0], sums[1] - 2 * row, cross - across.columns[j]!, n, m - 1));
  return { value, standardError: Math.sqrt(jackknife(withoutA) + jackknife(withoutB)) };
}

/** The unbiased estimate from sums over all ordered pairs of different samples within the sets, and over all pairs across. */
const combine = (withinA: number, withinB: number, cross: number, n: number, m: number): number =>
  withinA / (n * (n - 1)) + withinB / (m * (m - 1)) - (2 * cross) / (n * m);

const total = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0);

/** The jackknife's estimate of a variance, from the values without one sample each. */
function jackknife(values: Float64Array): number {
  const n = values.length;
  const mean = total(values) / n;
  return ((n - 1) / n) * values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
}

/** Sums of the kernel over the rows and over the columns; a set with itself is summed without its diagonal. */
async function rowSums(
  a: Float32Array,
  b: Float32Array,
  dim: number,
  itself: boolean,
): Promise<{ rows: Float64Array; columns: Float64Array }> {
  const [rows, columns] = [new Float64Array(a.length / dim), new Float64Array(b.length / dim)];
  await forGramRows(a, b, dim, (i, products) => {
    for (let j = 0; j < products.length; j++) {
      if (itself && i === j) continue;
      const value = (products[j]! / dim + 1) ** 3;
      rows[i]! += value;
      columns[j]! += value;
    }
  });
  return { rows, columns };
}
