import type { OrtBackend } from './backend.ts';
import type { Entry } from './entry.ts';
import { emptyArray, sizeOf, type Graph, type Node } from './graph.ts';
import type { HostArray, OnnxType } from './onnx.ts';
import type { HostValue } from './runtime.ts';
import type { CachedSession, Evaluation } from './session-cache.ts';

/** Where a live result comes from: an output of the run, a value from outside, or a value that every run has. */
type Source = { output: number } | { outside: number } | { node: Node };

/** How the live results of a path are computed, without its nodes. */
export class Plan {
  /** The numbers of the live results. */
  readonly live: readonly number[];
  private readonly graph: Graph;
  private readonly sources: readonly Source[];
  /** Null if nothing has to be computed. */
  private readonly session: CachedSession | null;
  private readonly feeds: Record<string, HostValue> = {};
  private readonly fetches: Record<string, HostValue> = {};
  /** The inputs that are values from outside. The other inputs are constants. */
  private readonly given: { value: HostValue; index: number }[] = [];
  private readonly outputs: { value: HostValue; shape: readonly number[]; dtype: OnnxType; size: number }[];

  private constructor(
    graph: Graph,
    { session, feeds, outputs }: Evaluation,
    live: number[],
    sources: Source[],
    outside: readonly unknown[],
  ) {
    this.graph = graph;
    this.live = live;
    this.sources = sources;
    this.session = session;
    for (const { name, node } of feeds) {
      const value: HostValue = { type: node.dtype, dims: node.shape, data: node.data!, location: 'cpu' };
      this.feeds[name] = value;
      const index = node.op === 'Leaf' ? outside.indexOf(node) : -1;
      if (index >= 0) this.given.push({ value, index });
      // No other result may use the memory of a constant.
      else node.shared = true;
    }
    this.outputs = outputs.map(({ name, node: { shape, dtype } }) => {
      const value: HostValue = { type: dtype, dims: shape, data: emptyArray(dtype, 0), location: 'cpu' };
      this.fetches[name] = value;
      return { value, shape, dtype, size: sizeOf(shape) };
    });
    this.release();
  }

  /** The plan of a path that has just been evaluated. Null if one of its live results has another origin. */
  static of(graph: Graph, evaluation: Evaluation, results: readonly Entry[], outside: readonly (Node | Entry)[]): Plan | null {
    const live: number[] = [];
    const sources: Source[] = [];
    const outputs = new Map(evaluation.outputs.map(({ node }, i) => [node, i]));
    for (const [i, { refCount, node }] of results.entries()) {
      if (refCount <= 0) continue;
      const output = outputs.get(node!);
      const from = outside.indexOf(node!);
      if (output !== undefined) sources.push({ output });
      else if (from >= 0) sources.push({ outside: from });
      else if (node!.data !== undefined) {
        node!.shared = true;
        sources.push({ node: node! });
      } else return null;
      live.push(i);
    }
    return new Plan(graph, evaluation, live, sources, outside);
  }

  /** Whether these and no other results of the path are alive. */
  isFor(results: readonly Entry[]): boolean {
    let found = 0;
    for (let i = 0; i < results.length; i++) if (results[i]!.refCount > 0 && this.live[found++] !== i) return false;
    return found === this.live.length;
  }

  /** The values of the live results. Null if the session was closed or the run failed. */
  run(outside: readonly (Node | Entry)[], backend: OrtBackend): Node[] | null {
    const values = this.compute(outside, backend);
    if (values === null) return null;
    const nodes: Node[] = [];
    for (const source of this.sources)
      nodes.push('output' in source ? values[source.output]! : 'node' in source ? source.node : (outside[source.outside] as Node));
    return nodes;
  }

  private compute(outside: readonly (Node | Entry)[], backend: OrtBackend): Node[] | null {
    if (this.session === null) return [];
    const session = this.session.ready();
    if (session === null) return null;
    for (const { value, index } of this.given) value.data = (outside[index] as Node).data!;
    for (const { value, dtype, size } of this.outputs) value.data = backend.buffers.take(dtype, size);
    try {
      session.run(this.feeds, this.fetches);
      const nodes: Node[] = [];
      for (const { value, shape, dtype } of this.outputs) nodes.push(this.graph.leaf(value.data, shape, dtype));
      return nodes;
    } catch {
      // The evaluation of the nodes says which operator fails.
      return null;
    } finally {
      this.release();
    }
  }

  /** A plan keeps no values between two runs. */
  private release(): void {
    for (const { value } of this.given) value.data = NOTHING;
    for (const { value } of this.outputs) value.data = NOTHING;
  }
}

const NOTHING: HostArray = new Float32Array(0);
