import type { OrtBackend, TensorInfo } from '../backend.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { emptyArray } from '../graph.ts';
import { onnxType } from '../backend.ts';
import { tf } from '../tf.ts';

/**
 * Kernels that run in JavaScript: pending inputs are evaluated and read, TensorFlow.js's own `cpu` kernel computes, and its result is
 * stored as data. These are kernels whose result shape depends on values (a graph has fixed shapes), kernels for strings, and kernels that
 * are used too rarely to write a graph for them. None of them has a gradient.
 */

const shapeDependsOnValues = "the shape of its result depends on its inputs' values";
const worksOnStrings = 'it works on strings';
const drawsNumbers = "it draws random numbers from TensorFlow.js's own stream";
const searches = 'it goes through its inputs one by one';

/** Why each of these kernels is not part of the graph. */
export const hostReasons: Readonly<Record<string, string>> = {
  BroadcastArgs: searches,
  Draw: 'it draws on a canvas',
  Multinomial: drawsNumbers,
  NonMaxSuppressionV3: shapeDependsOnValues,
  NonMaxSuppressionV4: shapeDependsOnValues,
  NonMaxSuppressionV5: shapeDependsOnValues,
  RaggedGather: shapeDependsOnValues,
  RaggedRange: shapeDependsOnValues,
  RaggedTensorToTensor: shapeDependsOnValues,
  SearchSorted: searches,
  SparseFillEmptyRows: shapeDependsOnValues,
  SparseReshape: shapeDependsOnValues,
  SparseSegmentMean: shapeDependsOnValues,
  SparseSegmentSum: shapeDependsOnValues,
  StaticRegexReplace: worksOnStrings,
  StringNGrams: worksOnStrings,
  StringSplit: worksOnStrings,
  StringToHashBucketFast: worksOnStrings,
  Unique: shapeDependsOnValues,
};

/** The methods of TensorFlow.js's `cpu` engine that are used here. */
interface HostEngine {
  write(values: unknown, shape: number[], dtype: string): object;
  readSync(dataId: object): ArrayLike<number> | Uint8Array[];
  disposeData(dataId: object, force: boolean): boolean;
}

type Inputs = Record<string, unknown> | unknown[];
const isTensor = (x: unknown): x is TensorInfo => typeof x === 'object' && x !== null && 'dataId' in x;

/** All tensors of a call, also those in lists. */
const inputsOf = (k: KernelCall): TensorInfo[] =>
  Object.values(k.infos as Record<string, unknown>)
    .flat()
    .filter(isTensor);

/**
 * Runs a call with the kernel of the same name of the `cpu` engine.
 * @throws Error inside a compiled function, if an input depends on its arguments and so has no values yet
 */
export function onHost(k: KernelCall): { stored: TensorInfo | TensorInfo[] } {
  const reason = hostReasons[k.name] ?? worksOnStrings;
  if (k.backend.isTracing && (reason === drawsNumbers || !inputsOf(k).every(({ dataId }) => k.backend.isReadable(dataId))))
    throw new Error(`compile: ${k.name} can't be part of a compiled function: it runs on the host, since ${reason}`);
  if (k.kind === 'complex64') throw k.refuse('numbers or strings', 'complex64');
  const kernel = tf.getKernel(k.name, 'cpu');
  const engine = tf.findBackend('cpu') as unknown as HostEngine | null;
  if (kernel === undefined || engine === null) {
    throw new Error(`ort ${k.name}: wanted TensorFlow.js's cpu engine, which computes this kernel (${reason}), but it is not registered`);
  }
  const held = new Set<object>();
  const lend = (x: unknown): unknown => {
    if (Array.isArray(x)) return x.map(lend);
    if (!isTensor(x)) return x;
    const dataId = engine.write(k.backend.readSync(x.dataId), x.shape, x.dtype);
    held.add(dataId);
    return { dataId, shape: x.shape, dtype: x.dtype };
  };
  try {
    const infos = k.infos as Inputs;
    const inputs = Array.isArray(infos) ? lend(infos) : Object.fromEntries(Object.entries(infos).map(([name, x]) => [name, lend(x)]));
    const result = kernel.kernelFunc({ inputs: inputs as never, attrs: k.allAttributes as never, backend: engine }) as
      TensorInfo | TensorInfo[];
    for (const { dataId } of Array.isArray(result) ? result : [result]) held.add(dataId);
    const keep = ({ dataId, shape, dtype }: TensorInfo): TensorInfo => store(k.backend, engine.readSync(dataId), shape, dtype);
    return { stored: Array.isArray(result) ? result.map(keep) : keep(result) };
  } finally {
    for (const dataId of held) engine.disposeData(dataId, true);
  }
}

function store(backend: OrtBackend, values: ArrayLike<number> | Uint8Array[], shape: number[], dtype: TensorInfo['dtype']): TensorInfo {
  if (dtype === 'string') return { dataId: backend.write(values as Uint8Array[], shape, dtype), shape, dtype };
  const type = onnxType(dtype, 'result');
  const data = emptyArray(type, values.length);
  (data as Float32Array).set(values as ArrayLike<number>);
  return backend.output(backend.graph.leaf(data, shape, type));
}

export const host: KernelTable = Object.fromEntries(Object.keys(hostReasons).map((name) => [name, onHost]));
