import type { OrtBackend, TensorInfo } from './backend.ts';
import { exportModel } from './export.ts';
import { sizeOf, type Node } from './graph.ts';
import { liveBytes } from './live-bytes.ts';
import { feedsOfCall, lower, multiplyAdds, nameOf, topological, workOf } from './lower.ts';
import type { OnnxType } from './onnx.ts';
import { profileModel, type OperatorTime } from './profile.ts';
import { rewrite } from './rewrite.ts';
import { hostValue, type HostValue, type SessionOptions } from './runtime.ts';
import { threadsFor } from './session-cache.ts';
import { tf } from './tf.ts';
import { PooledSession } from './thread-pools.ts';
import { tinyGraph, type TinyGraph } from './tiny.ts';

type Tensor = tf.Tensor;

/** Where a result of the traced function comes from. */
type Source =
  | { kind: 'computed'; node: Node; name: string; index: number }
  | { kind: 'argument'; index: number; shape: readonly number[] }
  | { kind: 'constant'; node: Node };

/** What a graph does between calls: with its threads, and with the memory of a call. */
export type CallOptions = Pick<SessionOptions, 'idle' | 'keepMemory'>;

/** A function of tensors as one ONNX graph with one session. A call runs no JavaScript of the function. */
export class CompiledGraph {
  private readonly backend: OrtBackend;
  private readonly name: string;
  /** Null if nothing has to be computed. */
  private readonly session: PooledSession | null;
  /** The same graph in JavaScript, if it is small enough. */
  private readonly tiny: TinyGraph | null;
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
    { idle, keepMemory }: CallOptions,
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
      return { kind: 'computed', node, name: nameOf(position.get(node)!), index: computed.indexOf(node) };
    });
    this.tiny = tinyGraph(order, computed, feedsOfCall);
    this.threads = threadsFor(workOf(order), backend.options.threads);
    this.session =
      computed.length === 0 ? null : new PooledSession({ ...backend.options, threads: this.threads, optimize: 'all', keepMemory, idle });
    // This throws if ONNX Runtime rejects the graph. So the error appears when the function is compiled, and not at its first call.
    this.session?.open(this.model);
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

  /** How long each type of operator takes in a run. */
  profile(inputs: readonly Tensor[], runs?: number): OperatorTime[] {
    if (this.session === null) throw new Error('compile: the function computes nothing, so there is nothing to profile');
    return profileModel(this.model(), { ...this.backend.options, threads: this.threads }, this.feeds(inputs), this.fetches(), runs);
  }

  /** The most bytes that the tensors of a call take at one time; see `liveBytes`. */
  get peakBytes(): number {
    return liveBytes(
      this.order,
      this.computed.map(({ node }) => node),
    );
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
      fetches[name] = hostValue(node, this.backend.takeBuffer(node.dtype, sizeOf(node.shape)));
    }
    return fetches;
  }

  /** Runs the graph. Arguments that are marked as donated are disposed, and their memory is used for later results. */
  run(inputs: readonly Tensor[], donated: readonly boolean[]): Tensor[] {
    const fetches = this.fetches();
    if (this.tiny !== null) this.tiny.run(this.feeds(inputs), fetches);
    else this.session?.run(this.feeds(inputs), fetches, this.model);
    // Two results may be one node.
    const leaves: (Node | undefined)[] = [];
    const tensors = this.sources.map((source) => {
      const { dataId, shape, dtype } = this.result(source, inputs, fetches, leaves);
      return tf.engine().makeTensorFromDataId(dataId, shape, dtype as 'float32', this.backend);
    });
    if (donated.includes(true)) this.take(inputs, donated);
    return tensors;
  }

  private result(source: Source, inputs: readonly Tensor[], fetches: Record<string, HostValue>, leaves: (Node | undefined)[]): TensorInfo {
    if (source.kind === 'argument') {
      const argument = inputs[source.index]!;
      const info = this.backend.output(this.backend.storedNode(argument.dataId));
      return { ...info, shape: [...source.shape], dtype: argument.dtype as TensorInfo['dtype'] };
    }
    if (source.kind === 'constant') return this.backend.output(source.node);
    const { name, node, index } = source;
    return this.backend.output((leaves[index] ??= this.backend.graph.leaf(fetches[name]!.data, node.shape, node.dtype)));
  }

  /** Disposes donated arguments. Their memory goes to later results. */
  private take(inputs: readonly Tensor[], donated: readonly boolean[]): void {
    const given = inputs.filter((_, i) => donated[i]);
    // Equal tensors share one node. Its memory must go back to the pool only once.
    const spent = new Set(given.map(({ dataId }) => this.backend.storedNode(dataId)));
    for (const x of given) x.dispose();
    for (const node of spent) this.backend.recycle(node);
  }

  dispose(): void {
    this.session?.dispose();
    this.backend.forgetBuffers();
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
  { idle = 'spin', keepMemory = true }: Partial<CallOptions> = {},
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
      compiled = new CompiledGraph(backend, nodes, results, name, { idle, keepMemory });
    });
    return compiled!;
  });
}
