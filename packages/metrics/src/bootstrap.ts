import { checkNumber, type Rng } from '@atelier/tensor';
import { countSamples, type Samples } from './samples.ts';

/** A distance with its interval of confidence. */
export type Interval = { value: number; low: number; high: number; standardError: number };

export type BootstrapOptions = {
  /** Times that the sets are drawn anew, 200 if absent. */
  rounds?: number;
  /** Share of confidence, 0.95 if absent. */
  level?: number;
};

/**
 * A distance of sample sets with an interval by the bootstrap: the sets are drawn anew from themselves, with repetition, and the distance is computed
 * each time. `standardError` is the standard deviation of these distances.
 *
 * The interval is the reflected one, [2d - q_high, 2d - q_low] with the quantiles q of the new distances. Repetition makes most distances larger by about as much as a small
 * sample does. The reflection takes this away on both sides, so the interval is one for the distance of the densities, and can lie below the value and below 0.
 *
 * @param sets each [n, dim] flattened
 * @param distance of sets of these sizes: `(a, b) => frechetDistance(a, b, dim)`
 * @throws Error if an argument has a wrong size or a value is not finite
 */
export async function bootstrapInterval<const Sets extends readonly Samples[]>(
  sets: Sets,
  dim: number,
  distance: (...sets: { [Key in keyof Sets]: Samples }) => number | Promise<number>,
  rng: Rng,
  { rounds = 200, level = 0.95 }: BootstrapOptions = {},
): Promise<Interval> {
  const where = 'bootstrapInterval';
  checkNumber(`${where}: rounds`, rounds, { integer: true, min: 2 });
  checkNumber(`${where}: level`, level, { above: 0, below: 1 });
  sets.forEach((set, i) => countSamples(`${where}: set ${i}`, set, dim));
  const of = (chosen: readonly Samples[]): number | Promise<number> => distance(...(chosen as { [Key in keyof Sets]: Samples }));
  const value = await of(sets);
  const found = new Float64Array(rounds);
  for (let round = 0; round < rounds; round++) {
    const own = rng.child(round);
    found[round] = await of(sets.map((set, i) => drawnAnew(set, dim, own.child(i))));
  }
  found.sort();
  const mean = found.reduce((sum, one) => sum + one, 0) / rounds;
  const variance = found.reduce((sum, one) => sum + (one - mean) ** 2, 0) / (rounds - 1);
  return {
    value,
    low: 2 * value - quantile(found, (1 + level) / 2),
    high: 2 * value - quantile(found, (1 - level) / 2),
    standardError: Math.sqrt(variance),
  };
}

function drawnAnew(set: Samples, dim: number, rng: Rng): Samples {
  const n = set.length / dim;
  const drawn = new (set.constructor as Float32ArrayConstructor)(set.length);
  rng.integers(n, 0, n).forEach((from, to) => drawn.set(set.subarray(from * dim, (from + 1) * dim) as Float32Array, to * dim));
  return drawn;
}

/** The quantile of sorted values, with a straight line between two of them. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below]! + (place - below) * (sorted[above]! - sorted[below]!);
}
