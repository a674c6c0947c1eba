import { emptyArray, sizeOf, type Node } from './graph.ts';
import { feedsOfEvaluation, lower, nameOf, positionIn, structureOf, workOf } from './lower.ts';
import type { HostArray } from './onnx.ts';
import type { HostValue, RuntimeOptions } from './runtime.ts';
import { PooledSession } from './thread-pools.ts';

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

interface Kept {
  session: PooledSession;
  modelBytes: number;
}

/**
 * Sessions, found by the structure of their graph. The least recently used one is closed first. There may be many, so none of them keeps
 * memory after a run.
 */
export class SessionCache {
  private sessions = new Map<string, Kept>();
  private modelBytes = 0;
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
  evaluate(order: readonly Node[], outputs: readonly Node[]): HostArray[] {
    const feeds: Record<string, HostValue> = {};
    const position = new Map<Node, number>();
    order.forEach((node, i) => {
      position.set(node, i);
      if (feedsOfEvaluation(node)) feeds[nameOf(i)] = { type: node.dtype, dims: node.shape, data: node.data! };
    });
    const values = outputs.map((node) => emptyArray(node.dtype, sizeOf(node.shape)));
    const fetches: Record<string, HostValue> = {};
    outputs.forEach((node, i) => (fetches[nameOf(position.get(node)!)] = { type: node.dtype, dims: node.shape, data: values[i]! }));
    try {
      this.run(order, outputs, feeds, fetches);
    } catch (error) {
      throw new GraphError(error as Error, order[positionIn((error as Error).message)] ?? null);
    }
    return values;
  }

  private run(
    order: readonly Node[],
    outputs: readonly Node[],
    feeds: Record<string, HostValue>,
    fetches: Record<string, HostValue>,
  ): void {
    const key = structureOf(order, outputs, feedsOfEvaluation);
    const model = (): Uint8Array => lower(order, outputs, 'atelier', feedsOfEvaluation);
    let kept = this.sessions.get(key);
    if (kept === undefined) {
      const threads = threadsFor(workOf(order), this.options.threads);
      const bytes = model();
      kept = {
        session: new PooledSession({ ...this.options, threads, optimize: 'basic', keepMemory: false, idle: 'spin' }),
        modelBytes: bytes.length,
      };
      kept.session.open(() => bytes);
      this.created++;
      this.modelBytes += kept.modelBytes;
    } else this.sessions.delete(key);
    this.sessions.set(key, kept);
    for (const [oldest, { session, modelBytes }] of this.sessions) {
      if (oldest === key || (this.sessions.size <= this.capacity && this.modelBytes <= MAX_MODEL_BYTES)) break;
      session.dispose();
      this.sessions.delete(oldest);
      this.modelBytes -= modelBytes;
    }
    kept.session.run(feeds, fetches, model);
  }

  dispose(): void {
    for (const { session } of this.sessions.values()) session.dispose();
    this.sessions.clear();
    this.modelBytes = 0;
  }
}
