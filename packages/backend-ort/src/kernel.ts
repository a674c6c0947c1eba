import type { Graph, Node } from './graph.ts';
import type { OrtBackend, TensorInfo } from './backend.ts';
import { tf } from './tf.ts';

/** What a kernel sees of one call. */
export class KernelCall {
  readonly backend: OrtBackend;
  readonly graph: Graph;
  readonly infos: Record<string, TensorInfo>;
  private readonly attributes: Record<string, unknown>;
  readonly name: string;

  constructor(name: string, backend: OrtBackend, inputs: Record<string, TensorInfo>, attributes: Record<string, unknown>) {
    this.name = name;
    this.backend = backend;
    this.graph = backend.graph;
    this.infos = inputs;
    this.attributes = attributes;
  }

  /** An input's node. */
  node(input: string): Node {
    return this.backend.node(this.infos[input]!);
  }

  has(input: string): boolean {
    return this.infos[input] !== undefined && this.infos[input] !== null;
  }

  /** Every input of a kernel that takes a list. */
  list(): Node[] {
    return Object.values(this.infos).map((info) => this.backend.node(info));
  }

  attribute<T>(name: string): T {
    return this.attributes[name] as T;
  }

  /** Sentence for something that this kernel can't do. */
  refuse(wanted: string, got: string): Error {
    return new Error(`ort ${this.name}: wanted ${wanted}, got ${got}`);
  }
}

/** A kernel's result: a node, several, or an input's data under another shape. */
export type KernelResult = Node | Node[] | { share: TensorInfo; shape: readonly number[]; dtype?: TensorInfo['dtype'] };
export type Kernel = (call: KernelCall) => KernelResult;
export type KernelTable = Readonly<Record<string, Kernel>>;

/** Registers a table of kernels with TensorFlow.js. */
export function registerKernels(table: KernelTable, backendName: string): void {
  for (const [kernelName, kernel] of Object.entries(table)) {
    tf.registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({ inputs, backend, attrs }) => {
        const ort = backend as OrtBackend;
        const result = kernel(new KernelCall(kernelName, ort, inputs as unknown as Record<string, TensorInfo>, attrs ?? {}));
        if (Array.isArray(result)) return result.map((node) => ort.output(node)) as never;
        if ('share' in result) {
          ort.incRef(result.share.dataId);
          return { dataId: result.share.dataId, shape: [...result.shape], dtype: result.dtype ?? result.share.dtype } as never;
        }
        return ort.output(result) as never;
      },
    });
  }
}
