import { readFileSync } from 'node:fs';
import { createSession, type HostValue, type Session, type SessionOptions } from './runtime.ts';

/**
 * ONNX Runtime gives each session its own threads, and its binding for Node.js cannot share them. So the number of threads of the process
 * is limited. Above the limit, the session that was not used for the longest time is closed. When it is called again, it first runs only on
 * the thread of the caller, and gets threads again after some more runs. So if a loop uses more sessions than can have threads, sessions
 * are opened again only rarely, and not in every round.
 */

/**
 * Largest number of native threads of all sessions together. If this is not enough for `MIN_POOLS` sessions, they get as many as they need.
 */
const MAX_THREADS = 64;
const MIN_POOLS = 4;
/** A session that lost its threads runs this many times on one thread before it gets threads again. */
const RUNS_TO_RETURN = 16;

/**
 * Sessions with threads, and the number of threads of each, without the caller's. The session that was not used for the longest time comes
 * first.
 */
const holders = new Map<PooledSession, number>();

/** The number of native threads of all sessions now, without the callers' own. */
export function pooledThreads(): number {
  let sum = 0;
  for (const threads of holders.values()) sum += threads;
  return sum;
}

/** The largest number of native threads of all sessions together, if each wants `threads`. */
export const threadBound = (threads: number): number => Math.max(MAX_THREADS, MIN_POOLS * (threads - 1));

/** The number of native threads of this process, including those of Node.js. Null on systems without `/proc/self/status`. */
export function nativeThreads(): number | null {
  if (process.platform !== 'linux') return null;
  const count = /^Threads:\s+(\d+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return count === undefined ? null : Number(count);
}

/** A session that may lose its threads, or may be closed, between two runs. */
export class PooledSession {
  private readonly options: SessionOptions;
  private session: Session | null = null;
  /** Whether the open session has as many threads as its options say. */
  private full = false;
  /** Number of runs that must still be done on one thread. */
  private penalty = 0;

  constructor(options: SessionOptions) {
    this.options = options;
  }

  /** Runs the graph. `model` returns the bytes of the model; it is called only if the session has to be opened. */
  run(feeds: Record<string, HostValue>, fetches: Record<string, HostValue>, model: () => Uint8Array): void {
    this.open(model).run(feeds, fetches);
  }

  /**
   * Opens the session, if it is closed.
   * @throws Error with ONNX Runtime's own message if it rejects the model
   */
  open(model: () => Uint8Array): Session {
    const { threads } = this.options;
    if (this.session !== null && !this.full && --this.penalty <= 0) this.close();
    if (this.session === null) {
      this.full = this.penalty <= 0;
      // The new session is opened first. So if it fails, no other session loses its threads.
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

  /** The session, if it is open with all its threads. Otherwise null, and `open` is needed. */
  ready(): Session | null {
    if (this.session === null || !this.full) return null;
    return this.open(() => {
      throw new Error('thread pools: an open session needs no model');
    });
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
