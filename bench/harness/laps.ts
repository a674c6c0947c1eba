import { nativeThreads, openSessions } from '@atelier/backend-ort';
import { tf } from '@atelier/tensor';

/** Something that a process does again and again, which must not make it grow. */
export interface RepeatedWork {
  readonly unit: 'steps' | 'samples';
  /** How often the long form does it. */
  readonly total: number;
  /** Settings of the process, as environment variables. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Does it `total` times, and calls `done` after each time. */
  run(total: number, done: () => void): Promise<void>;
}

/** What a process holds after some repetitions. `heap` is what JavaScript holds, with its arrays, and `resident` is all memory, in bytes. */
export type Lap = { done: number; tensors: number; sessions: number; threads: number; heap: number; resident: number };
const counts = ['tensors', 'sessions', 'threads'] as const;

/** Each work is measured this often, at equal distances. */
export const LAPS = 10;

/** Growth of memory up to this share is accepted as no growth. */
export const LEVEL = 0.01;

/** Does a work `total` times, and says after each lap what the process holds. The memory says something only with `node --expose-gc`. */
export async function runLaps(work: RepeatedWork, total: number, report: (lap: Lap) => void, laps = LAPS): Promise<void> {
  let done = 0;
  await work.run(total, () => {
    done++;
    if (done % Math.ceil(total / laps) === 0 || done === total) report(held(done));
  });
  if (done !== total) throw new Error(`wanted ${total} ${work.unit}, got ${done}`);
}

function held(done: number): Lap {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
  return {
    done,
    tensors: tf.memory().numTensors,
    sessions: openSessions(),
    threads: nativeThreads() ?? 0,
    heap: heapUsed + arrayBuffers,
    resident: rss,
  };
}

/** What changed from the first lap to the last one, for each count that did. */
export const changedCounts = (first: Lap, last: Lap): string[] =>
  counts
    .filter((count) => last[count] !== first[count])
    .map((count) => `${count}: wanted ${first[count]} as after the first ${first.done}, got ${last[count]} after ${last.done}`);
