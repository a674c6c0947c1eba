import { copy, repeatedValue } from './bits.ts';
import { BufferPool } from './buffer-pool.ts';
import { Calls } from './calls.ts';
import { traceGraph, type CompiledGraph } from './compiled-graph.ts';
import { Entries } from './entries.ts';
import { Entry, spread } from './entry.ts';
import { evaluate, foldConstant } from './evaluate.ts';
import { Graph, emptyArray, isPending, sizeOf, type Node } from './graph.ts';
import { isConstant } from './lower.ts';
import type { HostArray, OnnxType } from './onnx.ts';
import { runtimeOptions, type RuntimeOptions } from './runtime.ts';
import { traceScan } from './scan.ts';
import { SessionCache } from './session-cache.ts';
import { tf } from './tf.ts';

export type DataId = object;
export interface TensorInfo {
  dataId: DataId;
  shape: number[];
  dtype: tfDataType;
}
type tfDataType = 'float32' | 'int32' | 'bool' | 'complex64' | 'string';
/** The arguments of a function without the first. */
type Rest<F> = F extends (first: OrtBackend, ...rest: infer R) => unknown ? R : never;
type BackendValues = Float32Array | Int32Array | Uint8Array | Uint8Array[];

/** If a program never reads a value, its graph grows. At these limits it is evaluated anyway, so that memory stays limited too. */
const MAX_PENDING_NODES = 20_000;
const MAX_PENDING_BYTES = 2 ** 30;

/**
 * TensorFlow.js backend on ONNX Runtime. Kernels compute nothing: they make nodes, or only go along a path of calls that is already known
 * (see `calls.ts`). Reading a value evaluates the nodes of all live tensors, in one ONNX graph. Nodes whose tensors were disposed are not
 * computed.
 */
export class OrtBackend extends tf.KernelBackend {
  readonly options: RuntimeOptions;
  readonly graph = new Graph();
  readonly sessions: SessionCache;
  readonly calls = new Calls(this);
  readonly buffers = new BufferPool();
  private readonly entries = new Entries(this);
  /** Entries that may have pending nodes. */
  private pending: Entry[] = [];
  private pendingBytes = 0;
  private tracing = 0;

  constructor(options: Partial<RuntimeOptions> = {}) {
    super();
    this.options = runtimeOptions(options);
    this.sessions = new SessionCache(this.options);
  }

  /** `traceGraph` on this backend. Who has the backend can call it without importing this package, which only Node can load. */
  traceGraph(...rest: Rest<typeof traceGraph>): CompiledGraph {
    return traceGraph(this, ...rest);
  }

  /** `traceScan` on this backend. */
  traceScan(...rest: Rest<typeof traceScan>): ReturnType<typeof traceScan> {
    return traceScan(this, ...rest);
  }

  // --- methods that TensorFlow.js calls -----------------------------------------------------------------------------------------

  override write(values: BackendValues | null, shape: number[], dtype: tfDataType): DataId {
    const entry = new Entry(this);
    if (dtype === 'string') entry.strings = ((values ?? []) as Uint8Array[]).slice();
    else {
      const type = onnxType(dtype, 'write');
      const size = sizeOf(shape);
      if (values !== null && values.length !== size)
        throw new Error(`ort write: wanted ${size} values for [${shape}], got ${values.length}`);
      // `tf.zeros` and `tf.ones` arrive as full arrays. As an expanded scalar they allow simplifications (x · 1 is x).
      const repeated = size < 2 ? null : values === null ? 0 : repeatedValue(values as ArrayLike<number>);
      if (repeated === 0 || repeated === 1) entry.fill = { value: repeated, shape: [...shape], dtype: type };
      else {
        // A copy: the caller may change its array before the lazy graph reads it.
        const data = values === null ? emptyArray(type, size) : this.buffers.take(type, size);
        if (values !== null) copy(values as Float32Array, data);
        entry.node = this.tracing > 0 ? this.graph.constant(data, [...shape], type) : this.graph.leaf(data, [...shape], type);
      }
    }
    return this.entries.add(entry);
  }

  override move(dataId: DataId, values: BackendValues, shape: number[], dtype: tfDataType, refCount: number): void {
    const leaf = (type: OnnxType, from: BackendValues): Node => {
      const data = emptyArray(type, sizeOf(shape));
      copy(from as Float32Array, data);
      return this.graph.leaf(data, shape, type);
    };
    const entry = new Entry(this);
    entry.refCount = refCount;
    if (dtype === 'string') entry.strings = (values as Uint8Array[]).slice();
    else if (dtype === 'complex64') {
      const { real, imag } = tf.backend_util.splitRealAndImagArrays(values as Float32Array);
      [entry.node, entry.imag] = [leaf('float32', real), leaf('float32', imag)];
    } else entry.node = leaf(onnxType(dtype, 'move'), values);
    this.entries.adopt(dataId, entry);
  }

  override readSync(dataId: DataId): BackendValues {
    const entry = this.entry(dataId);
    if (entry.strings !== null) return entry.strings.slice();
    if (this.tracing > 0) for (const part of [entry.node, entry.imag]) if (part !== null) foldConstant(this.sessions, part);
    const values = this.dataOf(entry).slice() as BackendValues;
    return entry.imag === null
      ? values
      : tf.backend_util.mergeRealAndImagArrays(values as Float32Array, this.valuesOf(entry.imag) as Float32Array);
  }

  /** Whether the values of a tensor can be read now. While a function is traced, this is so only if they do not depend on its arguments. */
  isReadable(dataId: DataId): boolean {
    const { node, imag, strings } = this.entry(dataId);
    if (this.tracing === 0) return true;
    return strings === null && [node, imag].every((part) => part === null || part.data !== undefined || isConstant(part));
  }

  override async read(dataId: DataId): Promise<BackendValues> {
    return this.readSync(dataId);
  }

  override numDataIds(): number {
    return this.entries.count;
  }

  override refCount(dataId: DataId): number {
    return this.entries.find(dataId)?.refCount ?? 0;
  }

  override incRef(dataId: DataId): void {
    this.entry(dataId).refCount++;
  }

  override disposeData(dataId: DataId, force = false): boolean {
    const node = this.entries.find(dataId)?.node;
    const isGone = this.entries.release(dataId, force);
    // While something is pending, it may still read the memory.
    if (isGone && node && this.isIdle) this.buffers.recycleSpare(node);
    return isGone;
  }

  override memory(): { unreliable: boolean; reasons: string[] } {
    return { unreliable: true, reasons: ['Pending nodes hold no memory yet, and ONNX Runtime keeps its own arena.'] };
  }

  override timerAvailable(): boolean {
    return true;
  }

  override async time(f: () => void): Promise<{ kernelMs: number }> {
    this.flush();
    const start = performance.now();
    f();
    this.flush();
    return { kernelMs: performance.now() - start };
  }

  override floatPrecision(): 16 | 32 {
    return 32;
  }

  override epsilon(): number {
    return 1e-7;
  }

  /** Frees the sessions. Tensors keep their values, so that another backend can take them over. */
  override dispose(): void {
    this.flush();
    this.calls.forget();
    this.calls.restart();
    this.sessions.dispose();
  }

  // --- methods that kernels call ------------------------------------------------------------------------------------------------

  /** The node of a tensor, in the tensor's own shape. (Tensors of different shapes may share one data id.) */
  node(info: { dataId: DataId; shape: number[]; dtype: string }): Node {
    return this.graph.reshape(this.storedNode(info.dataId), info.shape);
  }

  /** The nodes of a tensor's real and imaginary part. */
  parts(info: { dataId: DataId; shape: number[]; dtype: string }): [Node, Node] {
    const { node, imag } = this.entry(info.dataId);
    if (imag === null) return [this.graph.cast(this.node(info), 'float32'), this.graph.fill(0, info.shape)];
    return [this.graph.reshape(node!, info.shape), this.graph.reshape(imag, info.shape)];
  }

  /** A new tensor that holds `node`. */
  output(node: Node, imag: Node | null = null): TensorInfo {
    const dataId = this.register(node, imag);
    const dtype = imag === null ? (node.dtype as tfDataType) : 'complex64';
    const isWaiting = isPending(node) || (imag !== null && isPending(imag));
    if (isWaiting) this.pending.push(dataId);
    this.pendingBytes += isWaiting ? 4 * sizeOf(node.shape) : 0;
    if (this.tracing === 0 && !this.calls.isRunning) {
      if (isWaiting) this.calls.leave();
      this.limit(this.graph.size);
    }
    return { dataId, shape: [...node.shape], dtype };
  }

  /** Evaluates what is pending if it is too much: `nodes`, and the bytes of the results so far and of `more` results that have no nodes. */
  limit(nodes: number, more = 0): void {
    this.pendingBytes += more;
    if (nodes > MAX_PENDING_NODES || this.pendingBytes > MAX_PENDING_BYTES) this.flush();
  }

  /**
   * Evaluates every pending node that belongs to a live tensor. If a node cannot be computed, then reading it throws, and so does reading a
   * node that depends on it. All other nodes get their values.
   */
  flush(): void {
    if (!this.calls.compute()) {
      const wanted = new Set<Node>();
      for (const { node, imag, refCount } of this.pending) {
        if (refCount > 0 && node !== null && isPending(node)) wanted.add(node);
        if (refCount > 0 && imag !== null && isPending(imag)) wanted.add(imag);
      }
      this.calls.remember(evaluate(this.sessions, [...wanted]));
    }
    this.calls.restart();
    this.graph.forget();
    this.pending = [];
    this.pendingBytes = 0;
  }

  /**
   * The data of an entry's (first) node in host memory.
   * @throws Error with the message of the operator that failed, the same at every read
   */
  private dataOf(entry: Entry): HostArray {
    if (entry.fill !== null) spread(this.graph, entry, entry.fill);
    if (entry.node === null) this.flush();
    return this.valuesOf(entry.node!);
  }

  private valuesOf(node: Node): HostArray {
    if (isPending(node)) this.flush();
    if (node.failure !== undefined) throw node.failure;
    return node.data!;
  }

  // --- methods that `calls` calls -----------------------------------------------------------------------------------------------

  /** A data id for a result that has no node yet. */
  promise(): Entry {
    return this.entries.add(new Entry(this));
  }

  /** Gives the result of a replayed call its node. */
  fulfil(entry: Entry, node: Node): void {
    entry.node = node;
    if (entry.refCount <= 0) return;
    node.owners++;
    if (isPending(node)) this.pending.push(entry);
  }

  // --- methods that `compile` calls ---------------------------------------------------------------------------------------------

  get isTracing(): boolean {
    return this.tracing > 0;
  }

  /** Runs `build` with kernels in tracing mode: no value can be read, and tensors from outside become constants of the model. */
  trace<T>(build: () => T): T {
    // Tensors from outside become constants of the model, so they need their values now.
    if (this.tracing === 0) this.flush();
    this.tracing++;
    try {
      return build();
    } finally {
      this.tracing--;
      if (this.tracing === 0) {
        this.graph.forget();
        this.pending = this.pending.filter(({ refCount, node }) => refCount > 0 && isPending(node!));
        if (this.pending.length > 0) this.calls.leave();
      }
    }
  }

  /** The data of an argument of a compiled call, in host memory. */
  hostData(dataId: DataId): HostArray {
    const entry = this.entry(dataId);
    if (entry.imag !== null || entry.strings !== null) this.storedNode(dataId);
    return this.dataOf(entry);
  }

  /** Whether nothing waits to be computed. */
  private get isIdle(): boolean {
    return this.tracing === 0 && this.pending.length === 0 && this.calls.isAtStart;
  }

  /** The node as it is stored. Its shape may differ from the shape of the tensor. */
  storedNode(dataId: DataId): Node {
    const { imag, strings } = this.entry(dataId);
    if (imag !== null || strings !== null)
      throw new Error(`ort: wanted dtype float32, int32 or bool, got ${strings === null ? 'complex64' : 'string'}`);
    return this.nodeOf(this.entry(dataId));
  }

  private nodeOf(entry: Entry): Node {
    if (entry.fill !== null) return this.graph.fill(entry.fill.value, entry.fill.shape, entry.fill.dtype);
    if (entry.node === null) this.calls.recall();
    return entry.node!;
  }

  private register(node: Node, imag: Node | null): Entry {
    const entry = new Entry(this);
    [entry.node, entry.imag] = [node, imag];
    return this.entries.add(entry);
  }

  entry(dataId: DataId): Entry {
    // While a path is recalled, its operands may belong to tensors that are gone.
    return this.calls.isRecalling && dataId instanceof Entry ? dataId : this.entries.get(dataId);
  }
}

export function onnxType(dtype: string, where: string): OnnxType {
  if (dtype === 'float32' || dtype === 'int32' || dtype === 'bool') return dtype;
  throw new Error(`ort ${where}: wanted dtype float32, int32 or bool, got ${dtype}`);
}
