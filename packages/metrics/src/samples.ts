/** Samples on the host: [n, dim] row-major, flattened. */
export type Samples = Float32Array | Float64Array;

/**
 * Number of samples in a flattened [n, dim] array, after checking it.
 *
 * @throws Error if `dim` is not a valid size, the length is not a multiple of it, there are fewer than `least` samples, or a value is not finite.
 */
export function countSamples(where: string, samples: Samples, dim: number, least = 1): number {
  if (!Number.isInteger(dim) || dim < 1) throw new Error(`${where}: wanted dim to be a whole number of at least 1, got ${dim}`);
  if (!(samples instanceof Float32Array) && !(samples instanceof Float64Array)) {
    throw new Error(`${where}: wanted a Float32Array or Float64Array [n, ${dim}], got ${Object.prototype.toString.call(samples)}`);
  }
  if (samples.length % dim !== 0) throw new Error(`${where}: wanted [n, ${dim}], got ${samples.length} numbers`);
  const count = samples.length / dim;
  if (count < least) throw new Error(`${where}: wanted at least ${least} samples, got ${count}`);
  const bad = samples.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new Error(`${where}: wanted finite numbers, got ${samples[bad]} at sample ${Math.floor(bad / dim)}, coordinate ${bad % dim}`);
  return count;
}

/** |a_i - b_j|² of the samples at offsets i and j. */
export function squaredDistance(a: Samples, i: number, b: Samples, j: number, dim: number): number {
  let square = 0;
  for (let k = 0; k < dim; k++) {
    const d = a[i + k]! - b[j + k]!;
    square += d * d;
  }
  return square;
}
