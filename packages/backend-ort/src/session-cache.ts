import { emptyArray, sizeOf, type Node } from './graph.ts';
import { feedsOfEvaluation, lower, nameOf, positionIn, structureOf, workOf } from './lower.ts';
import type { HostArray } from './onnx.ts';
import { hostValue, type RuntimeOptions, type Session } from './runtime.ts';
import { PooledSession } from './thread-pools.ts';
import { tinyGraph, type TinyGraph } from './tiny.ts';

/**
 * A graph with fewer operations than this runs faster on one thread, because waking another thread takes longer than the work that it would
 * save.
 */
const SMALL_WORK = 2e6;

export const threadsFor = (work: number, threads: number): number => (work < SMALL_WORK ? 1 : threads);

/** Largest total size of the models of all kept sessions. A session needs several times the memory of its model. */
const MAX_MODEL_BYTES = 2 ** 25;

/** An error from a graph that ONNX Runtime rejected or could not run. */
export class GraphError extends Error {
  /** ONNX Runtime's message, without the operator and place that it names. */
  readonly reason: string;
  /** The node that the message names, or null. */
  readonly node: Node | null;

  constructor(cause: Error, node: Node | null) {
    super(cause.message, { cause });
    this.node = node;
    this.reason = cause.message.replace(/^.*Status Message: /, '');
  }
}

/** A session of the cache. */
export class CachedSession {
  readonly modelBytes: number;
  readonly pooled: PooledSession;
  /** The same graph in JavaScript, if it is small enough. */
  private readonly tiny: TinyGraph | null;
  /** When it was last used, counted in uses of all sessions. */
  used = 0;
  private readonly clock: { now: number };

  constructor(pooled: PooledSession, tiny: TinyGraph | null, modelBytes: number, clock: { now: number }) {
    this.pooled = pooled;
    this.tiny = tiny;
    this.modelBytes = modelBytes;
    this.clock = clock;
  }

  /** What runs the graph without its model. Null if the session was closed, or waits for its threads. */
  ready(): Pick<Session, 'run'> | null {
    this.used = ++this.clock.now;
    return this.tiny ?? this.pooled.ready();
  }
}

/** How the values of some nodes were computed, in one run. */
export interface Evaluation {
  /** Null if nothing had to be computed. */
  session: CachedSession | null;
  feeds: readonly { name: string; node: Node }[];
  outputs: readonly { name: string; node: Node }[];
}

/**
 * Sessions, found by the structure of their graph. The least recently used one is closed first. There may be many, so none of them keeps
 * memory after a run.
 */
export class SessionCache {
  private sessions = new Map<string, CachedSession>();
  private modelBytes = 0;
  private readonly clock = { now: 0 };
  private readonly options: RuntimeOptions;
  private readonly capacity: number;
  /** Number of sessions made for new structures, for tests and the profile. */
  created = 0;

  constructor(options: RuntimeOptions, capacity = 256) {
    this.options = options;
    this.capacity = capacity;
  }

  get size(): number {
    return this.sessions.size;
  }

  /**
   * Computes the values of `outputs` (different pending nodes) in one run. `order` contains them and all nodes that they need, each after
   * its inputs.
   * @throws GraphError
   */
  evaluate(order: readonly Node[], outputs: readonly Node[]): { values: HostArray[]; evaluation: Evaluation } {
    const position = new Map(order.map((node, i) => [node, i]));
    const named = (node: Node): { name: string; node: Node } => ({ name: nameOf(position.get(node)!), node });
    const [fed, wanted] = [order.filter(feedsOfEvaluation).map(named), outputs.map(named)];
    const values = outputs.map((node) => emptyArray(node.dtype, sizeOf(node.shape)));
    const model = (): Uint8Array => lower(order, outputs, 'atelier', feedsOfEvaluation);
    try {
      const session = this.session(order, outputs, model);
      session.pooled.run(
        Object.fromEntries(fed.map(({ name, node }) => [name, hostValue(node, node.data!)])),
        Object.fromEntries(wanted.map(({ name, node }, i) => [name, hostValue(node, values[i]!)])),
        model,
      );
      return { values, evaluation: { session, feeds: fed, outputs: wanted } };
    } catch (error) {
      throw new GraphError(error as Error, order[positionIn((error as Error).message)] ?? null);
    }
  }

  private session(order: readonly Node[], outputs: readonly Node[], model: () => Uint8Array): CachedSession {
    const key = structureOf(order, outputs, feedsOfEvaluation);
    const known = this.sessions.get(key);
    if (known !== undefined) {
      known.used = ++this.clock.now;
      return known;
    }
    const threads = threadsFor(workOf(order), this.options.threads);
    const bytes = model();
    const pooled = new PooledSession({ ...this.options, threads, optimize: 'basic', keepMemory: false, idle: 'spin' });
    pooled.open(() => bytes);
    const made = new CachedSession(pooled, tinyGraph(order, outputs, feedsOfEvaluation), bytes.length, this.clock);
    made.used = ++this.clock.now;
    this.created++;
    this.modelBytes += made.modelBytes;
    this.sessions.set(key, made);
    while (this.sessions.size > 1 && (this.sessions.size > this.capacity || this.modelBytes > MAX_MODEL_BYTES)) this.closeOldest();
    return made;
  }

  private closeOldest(): void {
    const [key, oldest] = [...this.sessions].reduce((a, b) => (b[1].used < a[1].used ? b : a));
    oldest.pooled.dispose();
    this.sessions.delete(key);
    this.modelBytes -= oldest.modelBytes;
  }

  dispose(): void {
    for (const { pooled } of this.sessions.values()) pooled.dispose();
    this.sessions.clear();
    this.modelBytes = 0;
  }
}
