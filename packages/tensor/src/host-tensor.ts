import { tf, type Tensor } from './tf.ts';
import { flattenTree, isTensor, type Tree } from './tree.ts';

/** A tensor in host memory, in C order; `bool` takes one byte per value, 0 or 1. Files are read into this form and written from it. */
export type HostTensor = { dtype: 'float32' | 'int32' | 'bool'; shape: number[]; data: Float32Array | Int32Array | Uint8Array };

const ARRAYS = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const;

/**
 * Throws one sentence that begins with `where` unless dtype, shape, class of the array, length and (for bool) values of `host` fit
 * together.
 */
export function checkHostTensor(host: HostTensor, where: string): void {
  if (host === null || typeof host !== 'object')
    throw new Error(`${where}: wanted { dtype, shape, data }, got ${host === null ? 'null' : typeof host}`);
  const { dtype, shape, data } = host;
  if (!Object.hasOwn(ARRAYS, dtype)) throw new Error(`${where}: wanted dtype float32, int32 or bool, got ${JSON.stringify(dtype)}`);
  if (!Array.isArray(shape) || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw new Error(`${where}: wanted a shape of whole numbers >= 0, got ${JSON.stringify(shape)}`);
  }
  if (!(data instanceof ARRAYS[dtype])) {
    throw new Error(
      `${where}: wanted ${ARRAYS[dtype].name} data for dtype ${dtype}, got ${(data as object | null | undefined)?.constructor?.name ?? String(data)}`,
    );
  }
  const size = shape.reduce((a, b) => a * b, 1);
  if (data.length !== size) throw new Error(`${where}: wanted ${size} values for shape [${shape.join(', ')}], got ${data.length}`);
  if (dtype === 'bool') {
    const odd = data.findIndex((value) => value > 1);
    if (odd >= 0) throw new Error(`${where}: wanted 0 or 1 as bool, got ${data[odd]} at index ${odd}`);
  }
}

/**
 * A new tensor with a copy of the values. The caller disposes it.
 * @throws Error if the parts of `host` do not fit together.
 */
export function toTensor(host: HostTensor): Tensor {
  checkHostTensor(host, 'toTensor');
  return tf.tensor(host.data.slice(), [...host.shape], host.dtype);
}

/**
 * A copy of the values in host memory. The tensor is not disposed.
 * @throws Error for dtypes other than float32, int32 and bool.
 */
export async function toHost(tensor: Tensor): Promise<HostTensor> {
  if (!isTensor(tensor)) throw new Error(`toHost: wanted a tensor, got ${tensor === null ? 'null' : typeof tensor}`);
  const { dtype } = tensor;
  if (dtype !== 'float32' && dtype !== 'int32' && dtype !== 'bool')
    throw new Error(`toHost: wanted dtype float32, int32 or bool, got ${dtype}`);
  const shape = [...tensor.shape];
  // Some backends return their own memory. The copy makes sure that the caller cannot change it.
  return { dtype, shape, data: new ARRAYS[dtype](await tensor.data()) };
}

/** Every leaf of a tree in host memory, by dotted path (`blocks.0.attn.qkv.weight`). */
export async function toHostTree(tree: Tree): Promise<Record<string, HostTensor>> {
  const leaves = Object.entries(flattenTree(tree));
  return Object.fromEntries(await Promise.all(leaves.map(async ([path, leaf]) => [path, await toHost(leaf)] as const)));
}
