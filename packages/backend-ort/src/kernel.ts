import type { Graph, Node } from './graph.ts';
import type { OrtBackend, TensorInfo } from './backend.ts';

/** One call of a kernel: its inputs, attributes and backend. */
export class KernelCall {
  readonly backend: OrtBackend;
  readonly graph: Graph;
  readonly infos: Record<string, TensorInfo>;
  private readonly attributes: Record<string, unknown>;
  readonly name: string;
  /** If this is 0 or 1, complex inputs are replaced by their real or imaginary part. */
  private readonly half: 0 | 1 | null;

  constructor(
    name: string,
    backend: OrtBackend,
    inputs: Record<string, TensorInfo>,
    attributes: Record<string, unknown>,
    half: 0 | 1 | null = null,
  ) {
    this.name = name;
    this.backend = backend;
    this.graph = backend.graph;
    this.infos = inputs;
    this.attributes = attributes;
    this.half = half;
  }

  /** An input's node. */
  node(input: string): Node {
    return this.nodeOf(this.infos[input]!);
  }

  private nodeOf(info: TensorInfo): Node {
    return this.half === null ? this.backend.node(info) : this.backend.parts(info)[this.half];
  }

  /** The real and the imaginary part of an input. */
  parts(input: string): [Node, Node] {
    return this.backend.parts(this.infos[input]!);
  }

  /** The same call for the real (0) or imaginary (1) parts of complex inputs. */
  part(half: 0 | 1): KernelCall {
    return new KernelCall(this.name, this.backend, this.infos, this.attributes, half);
  }

  /** 'string' or 'complex64' if one of the inputs or the wanted result has this type, else 'number'. */
  get kind(): 'number' | 'complex64' | 'string' {
    let complex = this.attributes.dtype === 'complex64';
    if (this.attributes.dtype === 'string') return 'string';
    for (const name in this.infos) {
      const dtype = (this.infos[name] as TensorInfo | null | undefined)?.dtype;
      if (dtype === 'string') return 'string';
      if (dtype === 'complex64') complex = true;
    }
    return complex ? 'complex64' : 'number';
  }

  has(input: string): boolean {
    return this.infos[input] !== undefined && this.infos[input] !== null;
  }

  /** All inputs of a kernel that takes a list. */
  list(): Node[] {
    return Object.values(this.infos).map((info) => this.nodeOf(info));
  }

  /** All attributes, as TensorFlow.js passed them. */
  get allAttributes(): Record<string, unknown> {
    return this.attributes;
  }

  attribute<T>(name: string): T {
    return this.attributes[name] as T;
  }

  /** An error for something that this kernel cannot do. */
  refuse(wanted: string, got: string): Error {
    return new Error(`ort ${this.name}: wanted ${wanted}, got ${got}`);
  }
}

/** A complex tensor as two nodes. */
export interface Parts {
  real: Node;
  imag: Node;
}

/**
 * The result of a kernel: a node, a complex pair, a list of these, the data of an input with another shape, or tensors that are already
 * stored.
 */
export type KernelResult =
  Node | Parts | (Node | Parts)[] | { share: TensorInfo; shape: readonly number[] } | { stored: TensorInfo | TensorInfo[] };
export type Kernel = (call: KernelCall) => KernelResult;
export type KernelTable = Readonly<Record<string, Kernel>>;

/** Stores the result of a kernel. */
export function deliver(backend: OrtBackend, result: KernelResult): TensorInfo | TensorInfo[] {
  if (Array.isArray(result)) return result.map((one) => deliver(backend, one) as TensorInfo);
  if ('share' in result) {
    backend.incRef(result.share.dataId);
    return { dataId: result.share.dataId, shape: [...result.shape], dtype: result.share.dtype };
  }
  if ('stored' in result) return result.stored;
  return 'real' in result ? backend.output(result.real, result.imag) : backend.output(result);
}
