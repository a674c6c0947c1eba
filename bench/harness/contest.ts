/** One side of a comparison, in this process or in another one. `measure(n)` runs n steps and returns their times in ms. */
export type Contestant = { readonly name: string; measure: (steps: number) => Promise<number[]> };

export type ContestOptions = {
  /** Number of turns of every contestant. */
  rounds: number;
  /** Approximate length of a turn in ms. A turn has at least one step that counts. */
  turnMs: number;
  /** Approximate length of the warm-up of each contestant in ms, at least two steps. */
  warmUpMs: number;
  /** Pause after each turn in ms. In it the busy threads of the last contestant go to sleep. */
  restMs?: number;
};

/** The times of a contestant in ms: the median of each round, and the median of these medians. */
export type Times = { name: string; rounds: number[]; median: number };

/**
 * Times contestants in turns, A B C A B C …, so that other work on the machine slows down all of them equally. Each is warmed up before the
 * first turn. The first step of every turn does not count, because caches are cold and threads are asleep.
 */
export async function contest(contestants: readonly Contestant[], options: ContestOptions): Promise<Times[]> {
  const { rounds, turnMs, warmUpMs, restMs = 20 } = options;
  for (const [name, value] of Object.entries({ rounds, turnMs, warmUpMs }))
    if (!(value >= 1)) throw new Error(`contest: ${name}: wanted at least 1, got ${value}`);
  const steps: number[] = [];
  for (const contestant of contestants) {
    const times = await contestant.measure(2);
    while (sum(times) < warmUpMs) times.push(...(await contestant.measure(stepsIn(warmUpMs - sum(times), times.at(-1)!))));
    steps.push(stepsIn(turnMs, median(times.slice(1))));
  }
  const out: Times[] = contestants.map(({ name }) => ({ name, rounds: [], median: NaN }));
  for (let round = 0; round < rounds; round++) {
    for (const [i, contestant] of contestants.entries()) {
      const times = await contestant.measure(steps[i]! + 1);
      out[i]!.rounds.push(median(times.slice(1)));
      await new Promise((resolve) => setTimeout(resolve, restMs));
    }
  }
  for (const times of out) times.median = median(times.rounds);
  return out;
}

/** How many times as fast `ours` is as `theirs`: the median, the lowest and the highest of the ratios of all rounds. */
export function ratioOf(ours: Times, theirs: Times): { ratio: number; low: number; high: number } {
  if (ours.rounds.length !== theirs.rounds.length || ours.rounds.length === 0)
    throw new Error(`ratioOf: wanted as many rounds of both, got ${ours.rounds.length} and ${theirs.rounds.length}`);
  const ratios = theirs.rounds.map((ms, i) => ms / ours.rounds[i]!);
  return { ratio: median(ratios), low: Math.min(...ratios), high: Math.max(...ratios) };
}

/** A contestant in this process. A step has done its work when it returns, or when its promise resolves. */
export function inProcess(name: string, step: () => void | Promise<void>): Contestant {
  return {
    name,
    async measure(steps) {
      const times: number[] = [];
      for (let i = 0; i < steps; i++) {
        const start = performance.now();
        const pending = step();
        if (pending !== undefined) await pending;
        times.push(performance.now() - start);
      }
      return times;
    },
  };
}

/** The median. For an even number of values it is the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new Error('median: wanted at least one value, got none');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const stepsIn = (ms: number, each: number): number => Math.min(500, Math.max(1, Math.round(ms / Math.max(each, 1e-3))));
