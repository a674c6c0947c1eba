import type { Rng } from '@atelier/tensor';
import { countSamples, type Samples } from './samples.ts';

/**
 * W_p^p of two sets of numbers, exactly: the integral over q in [0, 1] of |F_a⁻¹(q) - F_b⁻¹(q)|^p.
 *
 * On the line the optimal coupling joins equal quantiles. With n and m numbers there are n·m units of mass: each a has m of them and each b has n.
 *
 * @param a, b sorted in ascending order; their lengths may differ.
 */
function coupledCost(a: Samples, b: Samples, order: number): number {
  const [n, m] = [a.length, b.length];
  let [i, j, leftA, leftB, sum] = [0, 0, m, n, 0];
  while (i < n) {
    const mass = Math.min(leftA, leftB);
    const gap = Math.abs(a[i]! - b[j]!);
    sum += mass * (order === 1 ? gap : order === 2 ? gap * gap : gap ** order);
    leftA -= mass;
    leftB -= mass;
    if (leftA === 0) [i, leftA] = [i + 1, m];
    if (leftB === 0) [j, leftB] = [j + 1, n];
  }
  return sum / (n * m);
}

/**
 * Wasserstein distance W_p between two sets of numbers: the p-th root of the integral of |F_a⁻¹ - F_b⁻¹|^p.
 *
 * @param order p, at least 1.
 * @throws Error if a set is empty or not finite.
 */
export function wasserstein1d(a: Samples, b: Samples, order = 2): number {
  checkOrder('wasserstein1d', order);
  countSamples('wasserstein1d: a', a, 1);
  countSamples('wasserstein1d: b', b, 1);
  return coupledCost(a.slice().sort(), b.slice().sort(), order) ** (1 / order);
}

/**
 * Sliced Wasserstein distance between two sample sets: (mean over directions of W_p^p of the projections)^(1/p).
 *
 * The directions are uniform on the sphere and drawn from `rng`. To compare two distances, pass streams with the same seed, so that the directions are equal.
 *
 * @param a, b [n, dim] and [m, dim] flattened; n and m may differ.
 * @throws Error if an argument has a wrong size or a value is not finite.
 */
export function slicedWasserstein(
  a: Samples,
  b: Samples,
  dim: number,
  rng: Rng,
  options: { projections?: number; order?: number } = {},
): number {
  const { projections = 128, order = 2 } = options;
  checkOrder('slicedWasserstein', order);
  if (!Number.isInteger(projections) || projections < 1)
    throw new Error(`slicedWasserstein: wanted projections to be a whole number of at least 1, got ${projections}`);
  countSamples('slicedWasserstein: a', a, dim);
  countSamples('slicedWasserstein: b', b, dim);
  let sum = 0;
  for (let k = 0; k < projections; k++) {
    const direction = unitVector(rng, dim);
    sum += coupledCost(project(a, direction).sort(), project(b, direction).sort(), order);
  }
  return (sum / projections) ** (1 / order);
}

function checkOrder(where: string, order: number): void {
  if (!(order >= 1) || !Number.isFinite(order)) throw new Error(`${where}: wanted a finite order of at least 1, got ${order}`);
}

/** A direction uniform on the unit sphere, float64. */
function unitVector(rng: Rng, dim: number): Float64Array {
  for (;;) {
    const vector = Float64Array.from(rng.normals(dim));
    const norm = Math.sqrt(vector.reduce((sum, v) => sum + v * v, 0));
    // A draw of exact zeros has no direction, so it is drawn again.
    if (norm > 0) return vector.map((v) => v / norm);
  }
}

/** [n, dim] · [dim] -> [n] */
function project(samples: Samples, direction: Float64Array): Float64Array {
  const dim = direction.length;
  const out = new Float64Array(samples.length / dim);
  for (let i = 0, at = 0; i < out.length; i++) {
    let sum = 0;
    for (let k = 0; k < dim; k++, at++) sum += samples[at]! * direction[k]!;
    out[i] = sum;
  }
  return out;
}
