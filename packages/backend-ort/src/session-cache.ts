import { emptyArray, sizeOf, type Node } from './graph.ts';
import { lower, nameOf, structureOf, topological, workOf } from './lower.ts';
import type { HostArray } from './onnx.ts';
import { createSession, type HostValue, type RuntimeOptions, type Session } from './runtime.ts';

/** Below this many operations a graph runs faster on one thread: waking a second costs more than it saves. */
const SMALL_WORK = 2e6;

export const threadsFor = (work: number, threads: number): number => (work < SMALL_WORK ? 1 : threads);

/** Sessions by the structure of their graph, the least recently used dropped first. There may be many, so none keeps the memory of its runs. */
export class SessionCache {
  private sessions = new Map<string, Session>();
  private readonly options: RuntimeOptions;
  private readonly capacity: number;
  /** Sessions made so far, for tests and the profile. */
  created = 0;

  constructor(options: RuntimeOptions, capacity = 256) {
    this.options = options;
    this.capacity = capacity;
  }

  get size(): number {
    return this.sessions.size;
  }

  /** The values of `outputs` (distinct pending nodes), computed in one run. */
  evaluate(outputs: readonly Node[]): HostArray[] {
    const order = topological(outputs);
    const session = this.sessionFor(order, outputs);
    const feeds: Record<string, HostValue> = {};
    const position = new Map<Node, number>();
    order.forEach((node, i) => {
      position.set(node, i);
      if (node.op === 'Leaf') feeds[nameOf(i)] = { type: node.dtype, dims: node.shape, data: node.data! };
    });
    const values = outputs.map((node) => emptyArray(node.dtype, sizeOf(node.shape)));
    const fetches: Record<string, HostValue> = {};
    outputs.forEach((node, i) => (fetches[nameOf(position.get(node)!)] = { type: node.dtype, dims: node.shape, data: values[i]! }));
    session.run(feeds, fetches);
    return values;
  }

  private sessionFor(order: readonly Node[], outputs: readonly Node[]): Session {
    const key = structureOf(order, outputs);
    let session = this.sessions.get(key);
    if (session === undefined) {
      const threads = threadsFor(workOf(order), this.options.threads);
      session = createSession(lower(order, outputs, 'atelier', false), {
        ...this.options,
        threads,
        optimize: 'basic',
        keepMemory: false,
        idle: 'spin',
      });
      this.created++;
    } else this.sessions.delete(key);
    this.sessions.set(key, session);
    if (this.sessions.size > this.capacity) {
      const [oldest] = this.sessions.keys();
      this.sessions.get(oldest!)!.dispose();
      this.sessions.delete(oldest!);
    }
    return session;
  }

  dispose(): void {
    for (const session of this.sessions.values()) session.dispose();
    this.sessions.clear();
  }
}
