import { BufferPool } from './buffer-pool.ts';
import { traceGraph, type CompiledGraph } from './compiled-graph.ts';
import { evaluate } from './evaluate.ts';
import { Graph, emptyArray, sizeOf, type Node } from './graph.ts';
import { topological } from './lower.ts';
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

/**
 * What belongs to a data id: one node (and a second one for the imaginary part of a complex tensor), or strings. Strings are never part of
 * a graph.
 */
interface Entry {
  node: Node | null;
  imag: Node | null;
  strings: Uint8Array[] | null;
  refCount: number;
}

/** If a program never reads a value, its graph grows. At these limits it is evaluated anyway, so that memory stays limited too. */
const MAX_PENDING_NODES = 20_000;
const MAX_PENDING_BYTES = 2 ** 30;

/**
 * TensorFlow.js backend on ONNX Runtime. Kernels compute nothing: they make nodes. Reading a value evaluates the nodes of all live tensors,
 * in one ONNX graph. Nodes whose tensors were disposed are not computed.
 */
export class OrtBackend extends tf.KernelBackend {
  readonly options: RuntimeOptions;
  readonly graph = new Graph();
  readonly sessions: SessionCache;
  private entries = new Map<DataId, Entry>();
  private complexCount = 0;
  private pendingBytes = 0;
  private tracing = 0;
  private buffers = new BufferPool();

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
    if (dtype === 'string') return this.store({ node: null, imag: null, strings: ((values ?? []) as Uint8Array[]).slice(), refCount: 1 });
    const type = onnxType(dtype, 'write');
    const size = sizeOf(shape);
    if (values !== null && values.length !== size) throw new Error(`ort write: wanted ${size} values for [${shape}], got ${values.length}`);
    // `tf.zeros` and `tf.ones` arrive as full arrays. As an expanded scalar they allow simplifications (x · 1 is x).
    const repeated = values === null ? 0 : repeatedValue(values as ArrayLike<number>);
    if (size > 1 && (repeated === 0 || repeated === 1)) return this.register(this.graph.fill(repeated, shape, type));
    // A copy: the caller may change its array before the lazy graph reads it.
    const data = values === null ? emptyArray(type, size) : this.takeBuffer(type, size);
    if (values !== null) (data as Float32Array).set(values as unknown as Float32Array);
    const node = this.tracing > 0 ? this.graph.constant(data, shape, type) : this.graph.leaf(data, shape, type);
    return this.register(node);
  }

  override move(dataId: DataId, values: BackendValues, shape: number[], dtype: tfDataType, refCount: number): void {
    const leaf = (type: OnnxType, from: BackendValues): Node => {
      const data = emptyArray(type, sizeOf(shape));
      (data as Float32Array).set(from as unknown as Float32Array);
      return this.graph.leaf(data, shape, type);
    };
    const entry: Entry = { node: null, imag: null, strings: null, refCount };
    if (dtype === 'string') entry.strings = (values as Uint8Array[]).slice();
    else if (dtype === 'complex64') {
      const { real, imag } = tf.backend_util.splitRealAndImagArrays(values as Float32Array);
      [entry.node, entry.imag] = [leaf('float32', real), leaf('float32', imag)];
    } else entry.node = leaf(onnxType(dtype, 'move'), values);
    this.store(entry, dataId);
  }

  override readSync(dataId: DataId): BackendValues {
    const { node, imag, strings } = this.entry(dataId);
    if (strings !== null) return strings.slice();
    const values = this.valuesOf(node!);
    return imag === null ? values : tf.backend_util.mergeRealAndImagArrays(values as Float32Array, this.valuesOf(imag) as Float32Array);
  }

  private valuesOf(node: Node): BackendValues {
    if (this.tracing > 0) this.foldConstant(node);
    return this.dataOf(node).slice() as BackendValues;
  }

  /**
   * While a function is traced, computes a value that no argument of it changes: a shape, or what follows from shapes and other constants.
   * @throws Error if the value depends on an argument
   */
  private foldConstant(node: Node): void {
    if (node.data !== undefined) return;
    if (!isConstant(node)) {
      throw new Error(
        'compile: the function reads the value of a tensor; a compiled function is traced without values, so return the tensor and read it outside',
      );
    }
    evaluate(this.sessions, [node]);
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
    // TensorFlow.js counts a complex tensor as three: itself and its two parts.
    return this.entries.size + 2 * this.complexCount;
  }

  override refCount(dataId: DataId): number {
    return this.entries.get(dataId)?.refCount ?? 0;
  }

  override incRef(dataId: DataId): void {
    this.entry(dataId).refCount++;
  }

  override disposeData(dataId: DataId, force = false): boolean {
    const entry = this.entries.get(dataId);
    if (entry === undefined) return true;
    entry.refCount--;
    if (!force && entry.refCount > 0) return false;
    this.entries.delete(dataId);
    if (entry.node !== null) entry.node.owners--;
    if (entry.imag !== null) {
      entry.imag.owners--;
      this.complexCount--;
    }
    return true;
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
    this.pendingBytes += node.data === undefined ? 4 * sizeOf(node.shape) : 0;
    if (this.tracing === 0 && (this.graph.size > MAX_PENDING_NODES || this.pendingBytes > MAX_PENDING_BYTES)) this.flush();
    return { dataId, shape: [...node.shape], dtype };
  }

  /**
   * Evaluates every pending node that belongs to a live tensor. If a node cannot be computed, then reading it throws, and so does reading a
   * node that depends on it. All other nodes get their values.
   */
  flush(): void {
    const pending = new Set<Node>();
    for (const { node, imag } of this.entries.values()) {
      if (node !== null && isPending(node)) pending.add(node);
      if (imag !== null && isPending(imag)) pending.add(imag);
    }
    if (pending.size > 0) evaluate(this.sessions, [...pending]);
    this.graph.forget();
    this.pendingBytes = 0;
  }

  /**
   * The data of a node in host memory.
   * @throws Error with the message of the operator that failed, the same at every read
   */
  private dataOf(node: Node): HostArray {
    if (isPending(node)) this.flush();
    if (node.failure !== undefined) throw node.failure;
    return node.data!;
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
      if (this.tracing === 0) this.graph.forget();
    }
  }

  /** The data of an argument of a compiled call, in host memory. */
  hostData(dataId: DataId): HostArray {
    const node = this.storedNode(dataId);
    return this.dataOf(node);
  }

  /** An array for new values. It comes from the pool if an array of that size was donated, otherwise it is new. */
  takeBuffer(dtype: OnnxType, size: number): HostArray {
    return this.buffers.take(dtype, size) ?? emptyArray(dtype, size);
  }

  /** Releases the stored memory of donated tensors. Called when the compiled function that used it is disposed. */
  forgetBuffers(): void {
    this.buffers.clear();
  }

  /** Puts the memory of a donated tensor into the pool, if nothing else uses it. */
  recycle(node: Node): void {
    if (node.op === 'Leaf' && node.owners === 0 && !node.shared && node.data !== undefined) this.buffers.give(node.dtype, node.data);
  }

  /** The node as it is stored. Its shape may differ from the shape of the tensor. */
  storedNode(dataId: DataId): Node {
    const { node, imag, strings } = this.entry(dataId);
    if (node === null || imag !== null) {
      throw new Error(`ort: wanted dtype float32, int32 or bool, got ${strings === null ? 'complex64' : 'string'}`);
    }
    return node;
  }

  register(node: Node, imag: Node | null = null): DataId {
    return this.store({ node, imag, strings: null, refCount: 1 });
  }

  private store(entry: Entry, dataId: DataId = {}): DataId {
    if (entry.node !== null) entry.node.owners++;
    if (entry.imag !== null) {
      entry.imag.owners++;
      this.complexCount++;
    }
    this.entries.set(dataId, entry);
    return dataId;
  }

  private entry(dataId: DataId): Entry {
    let entry = this.entries.get(dataId);
    if (entry === undefined && (tf.engine().state.tensorInfo.get(dataId)?.backend ?? this) !== this) {
      // The tensor lives on another backend.
      tf.engine().moveData(this, dataId);
      entry = this.entries.get(dataId);
    }
    if (entry === undefined) throw new Error('ort: the tensor was disposed, or donated to a compiled call, before this use');
    return entry;
  }
}

/** Whether no argument of a traced function is among the nodes that this node needs. */
const isConstant = (node: Node): boolean => topological([node]).every(({ op }) => op !== 'Input');

const isPending = ({ data, op, failure }: Node): boolean => data === undefined && op !== 'Input' && failure === undefined;

/** The value that all elements have in common, or null. -0 differs from 0. */
function repeatedValue(values: ArrayLike<number>): number | null {
  const first = values[0];
  if (first === undefined) return null;
  for (let i = 0; i < values.length; i++) if (!Object.is(values[i], first)) return null;
  return Object.is(first, -0) ? null : first;
}

export function onnxType(dtype: string, where: string): OnnxType {
  if (dtype === 'float32' || dtype === 'int32' || dtype === 'bool') return dtype;
  throw new Error(`ort ${where}: wanted dtype float32, int32 or bool, got ${dtype}`);
}
