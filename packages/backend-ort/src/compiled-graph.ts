import type { OrtBackend, TensorInfo } from './backend.ts';
import { exportModel } from './export.ts';
import { OnePass } from './fused/one-pass.ts';
import type { Given } from './fused/heap.ts';
import { sizeOf, type Node } from './graph.ts';
import { liveBytes } from './live-bytes.ts';
import { feedsOfCall, lower, multiplyAdds, nameOf, topological, workOf } from './lower.ts';
import type { OnnxType } from './onnx.ts';
import { profileModel, withRow, type OperatorTime } from './profile.ts';
import { rewrite } from './rewrite.ts';
import { hostValue, type HostValue, type SessionOptions } from './runtime.ts';
import { threadsFor } from './session-cache.ts';
import { tf } from './tf.ts';
import { PooledSession } from './thread-pools.ts';
import { tinyGraph, type TinyGraph } from './tiny.ts';

type Tensor = tf.Tensor;

/** Where a result of the traced function comes from. */
type Source =
  { kind: 'computed'; index: number } | { kind: 'argument'; index: number; shape: readonly number[] } | { kind: 'constant'; node: Node };

/** What a graph does between calls: with its threads, and with the memory of a call. */
export type CallOptions = Pick<SessionOptions, 'idle' | 'keepMemory'> & {
  /** Which arguments each call will donate. The end of the graph may then write new values over them. */
  donated: readonly boolean[];
};

/** A function of tensors as one ONNX graph with one session. A call runs no JavaScript of the function. */
export class CompiledGraph {
  private readonly backend: OrtBackend;
  private readonly name: string;
  /** Null if nothing has to be computed. */
  private readonly session: PooledSession | null;
  /** The same graph in JavaScript, if it is small enough. */
  private readonly tiny: TinyGraph | null;
  /** The graph in a form that replaces donated arguments in place, if its end allows it. */
  private readonly onePass: OnePass | null;
  private readonly threads: number;
  private readonly argumentNodes: readonly Node[];
  private readonly results: readonly Node[];
  /** All nodes, each after its inputs. */
  private readonly order: readonly Node[];
  /** The input name of each argument, or null if the function does not use the argument. */
  private readonly feedNames: (string | null)[];
  private readonly sources: Source[];
  private readonly computed: { node: Node; name: string }[];
  /**
   * Multiply-accumulates of the matrix products and convolutions in the function. They are counted before rewriting turns some sums into
   * products.
   */
  readonly multiplyAdds: number;

  constructor(
    backend: OrtBackend,
    argumentNodes: Node[],
    results: { node: Node; shape: number[] }[],
    name: string,
    { idle, keepMemory, donated }: CallOptions,
  ) {
    this.backend = backend;
    this.name = name;
    this.argumentNodes = argumentNodes;
    this.multiplyAdds = topological(results.map(({ node }) => node)).reduce((total, node) => total + multiplyAdds(node), 0);
    const nodes = rewrite(
      backend.graph,
      results.map(({ node, shape }) => backend.graph.reshape(node, shape)),
    );
    const computed = [...new Set(nodes.filter((node) => node.data === undefined && node.op !== 'Input'))];
    const order = topological(computed);
    [this.results, this.order] = [nodes, order];
    const position = new Map(order.map((node, i) => [node, i]));
    this.computed = computed.map((node) => ({ node, name: nameOf(position.get(node)!) }));
    this.feedNames = argumentNodes.map((node) => (position.has(node) ? nameOf(position.get(node)!) : null));
    this.sources = nodes.map((node): Source => {
      const index = argumentNodes.indexOf(node);
      if (index >= 0) return { kind: 'argument', index, shape: node.shape };
      if (node.data !== undefined) {
        // Every call returns this memory again, so it must never be used for another result.
        node.shared = true;
        return { kind: 'constant', node };
      }
      return { kind: 'computed', index: computed.indexOf(node) };
    });
    this.tiny = tinyGraph(order, computed, feedsOfCall);
    this.threads = threadsFor(workOf(order), backend.options.threads);
    const options = { ...backend.options, threads: this.threads, optimize: 'all', keepMemory, idle } as const;
    this.session = computed.length === 0 ? null : new PooledSession(options);
    // This throws if ONNX Runtime rejects the graph. So the error appears when the function is compiled, and not at its first call.
    this.onePass = this.tiny === null ? OnePass.of({ order, results: nodes, argumentNodes, donated, name }, options) : null;
    if (this.onePass === null) this.session?.open(this.model);
  }

  /** The bytes of the session's own model. It contains only computed values. */
  private readonly model = (): Uint8Array =>
    lower(
      this.order,
      this.computed.map(({ node }) => node),
      this.name,
      feedsOfCall,
    );

  /**
   * The bytes of an `.onnx` file. Its inputs and outputs have the given names, in the order of the arguments and results.
   * @throws Error if the names are not all different
   */
  onnx(inputs: readonly string[], outputs: readonly string[]): Uint8Array {
    return exportModel({
      name: this.name,
      inputs: this.argumentNodes.map((node, i) => ({ name: inputs[i]!, node })),
      outputs: this.results.map((node, i) => ({ name: outputs[i]!, node })),
    });
  }

  /** How long each type of operator takes in a run. `OnePass` stands for all passes that replace donated arguments in place. */
  profile(inputs: readonly Tensor[], runs = 5): OperatorTime[] {
    if (this.session === null) throw new Error('compile: the function computes nothing, so there is nothing to profile');
    const options = { ...this.backend.options, threads: this.threads };
    if (this.onePass === null) return profileModel(this.model(), options, this.feeds(inputs), this.fetches(), runs);
    const { feeds, fetches } = this.onePass.ports(this.given(inputs, []), this.backend);
    const operators = Object.keys(fetches).length === 0 ? [] : profileModel(this.onePass.model(), options, feeds, fetches, runs);
    return withRow(operators, { op: 'OnePass', ms: this.onePass.time(runs), nodes: this.onePass.passes });
  }

  /** The most bytes that the tensors of a call take at one time; see `liveBytes`. */
  get peakBytes(): number {
    return liveBytes(
      this.order,
      this.computed.map(({ node }) => node),
    );
  }

  /** The arguments with their data, and whether this call is the last that uses them. */
  private given(inputs: readonly Tensor[], donated: readonly boolean[]): Given[] {
    return inputs.map(({ dataId }, i) => {
      // Repeated numbers get an array here, so the node is asked for after the data.
      const data = this.backend.hostData(dataId) as Float32Array;
      const { owners, shared } = this.backend.storedNode(dataId);
      return { data, isLast: donated[i] === true && owners === 1 && !shared && this.backend.refCount(dataId) === 1 };
    });
  }

  private feeds(inputs: readonly Tensor[]): Record<string, HostValue> {
    const feeds: Record<string, HostValue> = {};
    inputs.forEach((x, i) => {
      const name = this.feedNames[i]!;
      if (name !== null) feeds[name] = hostValue({ dtype: x.dtype as OnnxType, shape: x.shape }, this.backend.hostData(x.dataId));
    });
    return feeds;
  }

  private fetches(): Record<string, HostValue> {
    const fetches: Record<string, HostValue> = {};
    for (const { node, name } of this.computed) {
      fetches[name] = hostValue(node, this.backend.buffers.take(node.dtype, sizeOf(node.shape)));
    }
    return fetches;
  }

  /** Runs the graph. Arguments that are marked as donated are disposed, and their memory is used for later results. */
  run(inputs: readonly Tensor[], donated: readonly boolean[]): Tensor[] {
    const made = this.inPlace(inputs, donated);
    const leaves = made ?? this.whole(inputs);
    const tensors = this.sources.map((source) => {
      const { dataId, shape, dtype } = this.result(source, inputs, leaves);
      return tf.engine().makeTensorFromDataId(dataId, shape, dtype as 'float32', this.backend);
    });
    if (donated.includes(true)) this.take(inputs, donated, made !== null);
    return tensors;
  }

  /** The computed values of a run of the whole graph. */
  private whole(inputs: readonly Tensor[]): Node[] {
    const fetches = this.fetches();
    if (this.tiny !== null) this.tiny.run(this.feeds(inputs), fetches);
    else this.session?.run(this.feeds(inputs), fetches, this.model);
    return this.computed.map(({ node, name }) => this.backend.graph.leaf(fetches[name]!.data, node.shape, node.dtype));
  }

  /** The computed values, with donated arguments replaced in place, or null if that is not possible for this call. */
  private inPlace(inputs: readonly Tensor[], donated: readonly boolean[]): Node[] | null {
    if (this.onePass === null) return null;
    const made = this.onePass.run(this.backend, this.given(inputs, donated));
    return made && this.computed.map(({ node }) => made.get(node)!);
  }

  /** `leaves` are the computed values. Two results may be one of them. */
  private result(source: Source, inputs: readonly Tensor[], leaves: readonly Node[]): TensorInfo {
    if (source.kind === 'computed') return this.backend.output(leaves[source.index]!);
    if (source.kind === 'constant') return this.backend.output(source.node);
    const argument = inputs[source.index]!;
    const info = this.backend.output(this.backend.storedNode(argument.dataId));
    return { ...info, shape: [...source.shape], dtype: argument.dtype as TensorInfo['dtype'] };
  }

  /**
   * Disposes donated arguments. Their memory goes to later results. State that was moved into a heap stays there, so its old memory is freed.
   */
  private take(inputs: readonly Tensor[], donated: readonly boolean[], wasInPlace: boolean): void {
    // Equal tensors share one node. Its memory must go back only once.
    const spent = new Map<Node, boolean>();
    inputs.forEach(({ dataId }, i) => {
      if (donated[i]) spent.set(this.backend.storedNode(dataId), wasInPlace && this.onePass!.isState(i));
    });
    inputs.forEach((x, i) => donated[i] && x.dispose());
    for (const [node, isMoved] of spent) {
      if (isMoved) this.backend.buffers.release(node);
      else this.backend.buffers.recycle(node);
    }
  }

  dispose(): void {
    this.onePass?.dispose();
    this.session?.dispose();
    this.backend.buffers.clear();
  }
}

/**
 * Traces `fn` once with placeholders of the given shapes and types. Other tensors that it uses become constants of the graph.
 * @throws Error when `fn` reads a value: while tracing, tensors have no values
 */
export function traceGraph(
  backend: OrtBackend,
  signature: readonly { shape: readonly number[]; dtype: string }[],
  fn: (inputs: Tensor[]) => Tensor[],
  name: string,
  { idle = 'spin', keepMemory = true, donated = [] }: Partial<CallOptions> = {},
): CompiledGraph {
  return backend.trace(() => {
    const nodes = signature.map(({ shape, dtype }) => backend.graph.input(shape, dtype as OnnxType));
    let compiled: CompiledGraph | undefined;
    tf.tidy(() => {
      const inputs = nodes.map((node, i) => {
        const { dataId, dtype } = backend.output(node);
        return tf.engine().makeTensorFromDataId(dataId, [...signature[i]!.shape], dtype as 'float32', backend);
      });
      const results = fn(inputs).map((x) => ({ node: backend.storedNode(x.dataId), shape: x.shape }));
      compiled = new CompiledGraph(backend, nodes, results, name, { idle, keepMemory, donated });
    });
    return compiled!;
  });
}
