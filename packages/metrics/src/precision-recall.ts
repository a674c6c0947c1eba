import { countSamples, squaredDistance, type Samples } from './samples.ts';

/**
 * Precision and recall of samples by nearest neighbours (Kynkäänniemi et al., arXiv 1904.06991): the true set is taken for the union of balls around its points that
 * reach to their k-th neighbour, and precision is the share of samples inside of it; recall is the same with the two sets in each other's place.
 *
 * @param real, fake [n, dim] and [m, dim] flattened; their sizes may differ, but figures are comparable between equal sizes alone.
 * @param options.k which neighbour the balls reach to, 3 if absent; below both n and m
 * @throws Error if an argument has a wrong size or a value is not finite
 */
export function precisionRecall(
  real: Samples,
  fake: Samples,
  dim: number,
  { k = 3 }: { k?: number } = {},
): { precision: number; recall: number } {
  const n = countSamples('precisionRecall: real', real, dim);
  const m = countSamples('precisionRecall: fake', fake, dim);
  if (!Number.isInteger(k) || k < 1 || k >= Math.min(n, m))
    throw new Error(`precisionRecall: k: wanted a whole number from 1 to ${Math.min(n, m) - 1}, got ${k}`);
  return { precision: shareInside(fake, m, real, n, dim, k), recall: shareInside(real, n, fake, m, dim, k) };
}

/**
 * Density and coverage of samples (Naeem et al., arXiv 2002.09797), which single true points far away from the others do not spoil. Density is the number of balls around
 * true points that a sample lies in, as a mean over the samples, divided by k: about 1 for samples of the true density, 0 for samples far away. Coverage is the share of the balls
 * that hold a sample.
 *
 * @param real, fake [n, dim] and [m, dim] flattened
 * @param options.k which neighbour the balls reach to, 5 if absent; below n
 * @throws Error if an argument has a wrong size or a value is not finite
 */
export function densityCoverage(
  real: Samples,
  fake: Samples,
  dim: number,
  { k = 5 }: { k?: number } = {},
): { density: number; coverage: number } {
  const n = countSamples('densityCoverage: real', real, dim);
  const m = countSamples('densityCoverage: fake', fake, dim);
  if (!Number.isInteger(k) || k < 1 || k >= n) throw new Error(`densityCoverage: k: wanted a whole number from 1 to ${n - 1}, got ${k}`);
  let [held, covered] = [0, 0];
  for (let i = 0; i < n; i++) {
    const reach = neighbourDistance(real, n, dim, i, k);
    let inside = 0;
    for (let j = 0; j < m; j++) if (squaredDistance(real, i * dim, fake, j * dim, dim) <= reach) inside++;
    held += inside;
    if (inside > 0) covered++;
  }
  return { density: held / (k * m), coverage: covered / n };
}

/** Share of the points that lie in a ball around some centre. */
function shareInside(points: Samples, count: number, centres: Samples, n: number, dim: number, k: number): number {
  const reach = Float64Array.from({ length: n }, (_, i) => neighbourDistance(centres, n, dim, i, k));
  let inside = 0;
  for (let p = 0; p < count; p++) {
    for (let i = 0; i < n; i++) {
      if (squaredDistance(points, p * dim, centres, i * dim, dim) > reach[i]!) continue;
      inside++;
      break;
    }
  }
  return inside / count;
}

/** Squared distance of point i to its k-th nearest other point. */
function neighbourDistance(points: Samples, n: number, dim: number, i: number, k: number): number {
  const nearest = new Float64Array(k).fill(Infinity);
  for (let j = 0; j < n; j++) {
    if (j === i) continue;
    const distance = squaredDistance(points, i * dim, points, j * dim, dim);
    if (distance >= nearest[k - 1]!) continue;
    let at = k - 1;
    while (at > 0 && nearest[at - 1]! > distance) {
      nearest[at] = nearest[at - 1]!;
      at--;
    }
    nearest[at] = distance;
  }
  return nearest[k - 1]!;
}
