import { readFileSync } from 'node:fs';
import { createSession, type HostValue, type Session, type SessionOptions } from './runtime.ts';

/**
 * ONNX Runtime gives each session its own threads, and its binding for Node.js cannot share them. So the number of threads of the process is limited: above
 * the limit, the session that ran longest ago is closed. When it is called again it first runs only on the thread of the caller. It gets threads again after
 * some more runs. So in a loop over more sessions than can have threads, sessions are opened again only rarely, and not in every round.
 */

/** Native threads of all sessions together, unless so few would not do for `MIN_POOLS` sessions. */
const MAX_THREADS = 64;
const MIN_POOLS = 4;
/** Runs on one thread that a session which lost its threads has to do before it gets threads again. */
const RUNS_TO_RETURN = 16;

/** Sessions with threads, the one that ran longest ago first, and how many threads each has beside the caller's. */
const holders = new Map<PooledSession, number>();

/** Native threads that sessions hold now, beside the callers' own. */
export function pooledThreads(): number {
  let sum = 0;
  for (const threads of holders.values()) sum += threads;
  return sum;
}

/** The most native threads that sessions which ask for `threads` hold together. */
export const threadBound = (threads: number): number => Math.max(MAX_THREADS, MIN_POOLS * (threads - 1));

/** All native threads of this process, Node.js's own too; null on a system that does not say so in `/proc`. */
export function nativeThreads(): number | null {
  if (process.platform !== 'linux') return null;
  const count = /^Threads:\s+(\d+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return count === undefined ? null : Number(count);
}

/** A session that may lose its threads, or be closed, between two runs. */
export class PooledSession {
  private readonly options: SessionOptions;
  private session: Session | null = null;
  /** Whether the open session has all the threads it was to have. */
  private full = false;
  /** Runs still to be done on one thread. */
  private penalty = 0;

  constructor(options: SessionOptions) {
    this.options = options;
  }

  /** Runs the graph; `model` gives its bytes, if it has to be opened. */
  run(feeds: Record<string, HostValue>, fetches: Record<string, HostValue>, model: () => Uint8Array): void {
    this.open(model).run(feeds, fetches);
  }

  /** Opens the session, if it is not. @throws Error with ONNX Runtime's own sentence when it refuses the model */
  open(model: () => Uint8Array): Session {
    const { threads } = this.options;
    if (this.session !== null && !this.full && --this.penalty <= 0) this.close();
    if (this.session === null) {
      this.full = this.penalty <= 0;
      // First the new session: one that is refused takes no threads from others.
      this.session = createSession(model(), { ...this.options, threads: this.full ? threads : 1 });
    }
    if (threads > 1 && this.full) {
      holders.delete(this);
      holders.set(this, threads - 1);
      for (const oldest of holders.keys()) {
        if (pooledThreads() <= threadBound(threads)) break;
        oldest.penalty = RUNS_TO_RETURN;
        oldest.close();
      }
    }
    return this.session;
  }

  private close(): void {
    holders.delete(this);
    this.session?.dispose();
    this.session = null;
  }

  dispose(): void {
    this.close();
  }
}
