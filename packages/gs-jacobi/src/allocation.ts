/** One way to do one part: its cost, and the square of the error that it causes in the result. */
export type Choice = { cost: number; squaredError: number };

/** One choice per part, and the sums of cost and squared error. */
export type Allocation = Choice & { choices: number[] };

/** Largest number of sums that are kept after each part. */
const KEPT = 4000;

/**
 * All combinations of one choice per part that no other combination beats in both cost and error, the cheapest first. The errors of the parts are assumed to
 * be independent, so their squares are added.
 *
 * If there are more than some thousand, those that differ least in error are left out.
 */
export function paretoFront(parts: readonly (readonly Choice[])[]): Allocation[] {
  let front: Allocation[] = [{ cost: 0, squaredError: 0, choices: [] }];
  for (const [i, choices] of parts.entries()) {
    if (choices.length === 0) throw new Error(`paretoFront: wanted at least one choice for part ${i}, got none`);
    const sums = front.flatMap((sum) =>
      choices.map((choice, at) => ({
        cost: sum.cost + choice.cost,
        squaredError: sum.squaredError + choice.squaredError,
        choices: [...sum.choices, at],
      })),
    );
    front = thinned(unbeaten(sums));
  }
  return front;
}

/** The cheapest sum with an error of at most `error`, or, if there is none, the one with the least error. */
export function cheapestWithin(front: readonly Allocation[], error: number): Allocation {
  return front.find(({ squaredError }) => squaredError <= error ** 2) ?? front.at(-1)!;
}

/** The sum with the least error that costs at most `cost`, or, if there is none, the cheapest. */
export function bestWithin(front: readonly Allocation[], cost: number): Allocation {
  return front.findLast((sum) => sum.cost <= cost) ?? front[0]!;
}

function unbeaten(sums: Allocation[]): Allocation[] {
  sums.sort((a, b) => a.cost - b.cost || a.squaredError - b.squaredError);
  let least = Infinity;
  return sums.filter(({ squaredError }) => {
    if (squaredError >= least) return false;
    least = squaredError;
    return true;
  });
}

function thinned(front: Allocation[]): Allocation[] {
  if (front.length <= KEPT) return front;
  // Along the front the errors fall. They are put into narrow bins on a logarithmic scale, and the cheapest of each bin is kept.
  const logs = front.map(({ squaredError }) => Math.log(squaredError + 1e-30));
  const step = (logs[0]! - logs.at(-1)!) / (KEPT - 1);
  return front.filter((_, i) => i === front.length - 1 || i === 0 || Math.floor(logs[i]! / step) !== Math.floor(logs[i - 1]! / step));
}
