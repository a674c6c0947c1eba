/** Someone who can be asked for the times of n steps in ms; here in this process, or a peer in another one. */
export type Contestant = { readonly name: string; measure: (steps: number) => Promise<number[]> };

export type ContestOptions = {
  /** How often every contestant has its turn. */
  rounds: number;
  /** About how long a turn lasts, in ms; a turn has at least one step that counts. */
  turnMs: number;
  /** About how long each warms up, in ms, at least two steps. */
  warmUpMs: number;
  /** Silence after each turn in ms, in which the threads of whoever had it stop spinning. */
  restMs?: number;
};

/** What a contestant took: one median a round, and their median, in ms. */
export type Times = { name: string; rounds: number[]; median: number };

/**
 * Times contestants in turn, A B C A B C …, so that what else the machine does falls on all of them alike. Each has warmed up before the first
 * turn, and the first step of every turn, which finds the caches cold and the threads asleep, does not count.
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

/** How many times faster `ours` is than `theirs`: the median of the ratios of the rounds, the lowest and the highest. */
export function ratioOf(ours: Times, theirs: Times): { ratio: number; low: number; high: number } {
  if (ours.rounds.length !== theirs.rounds.length || ours.rounds.length === 0)
    throw new Error(`ratioOf: wanted as many rounds of both, got ${ours.rounds.length} and ${theirs.rounds.length}`);
  const ratios = theirs.rounds.map((ms, i) => ms / ours.rounds[i]!);
  return { ratio: median(ratios), low: Math.min(...ratios), high: Math.max(...ratios) };
}

/** A contestant in this process; a step does its work before it returns or resolves. */
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

/** Median; of an even number of values the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new Error('median: wanted at least one value, got none');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
const stepsIn = (ms: number, each: number): number => Math.min(500, Math.max(1, Math.round(ms / Math.max(each, 1e-3))));
