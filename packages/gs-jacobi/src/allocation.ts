/** One way to do a part of the whole: what it costs, and the square of the error that it leaves in the result. */
export type Choice = { cost: number; squaredError: number };

/** A choice for every part, and the sums. */
export type Allocation = Choice & { choices: number[] };

/** Sums kept after each part, at most. */
const KEPT = 4000;

/**
 * All sums of one choice for each part that no other sum beats in both cost and error, the cheapest first: the parts' errors are taken to be
 * independent, so that their squares add up.
 *
 * Beyond some thousands, those that differ least in error are left out.
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
  // Their errors fall along the front; of those in one step of a fine geometric ladder the cheapest stays.
  const logs = front.map(({ squaredError }) => Math.log(squaredError + 1e-30));
  const step = (logs[0]! - logs.at(-1)!) / (KEPT - 1);
  return front.filter((_, i) => i === front.length - 1 || i === 0 || Math.floor(logs[i]! / step) !== Math.floor(logs[i - 1]! / step));
}
