import type { HostArray } from './onnx.ts';

/** Constants of at most this many elements are compared by their content. Larger ones are looked up by a hash of it. */
export const SMALL_CONSTANT = 64;

/** The values as whole numbers. These distinguish +0 from -0, and different NaN values from each other. */
export function bitsOf(data: HostArray): Int32Array | Uint8Array | BigInt64Array {
  return data instanceof Float32Array ? new Int32Array(data.buffer, data.byteOffset, data.length) : data;
}

/** A hash for looking up constants (32-bit FNV-1a over words). Different values can have the same hash, so compare with `sameBits` too. */
export function hashOf(data: HostArray): string {
  const words =
    data instanceof Uint8Array ? data : new Int32Array(data.buffer, data.byteOffset, data.byteLength / Int32Array.BYTES_PER_ELEMENT);
  let hash = 0x811c9dc5;
  for (let i = 0; i < words.length; i++) {
    hash = Math.imul(hash ^ words[i]!, 0x01000193);
    // A multiplication moves information only from low bits to high bits. Small floats differ in their high bits, so these are mixed into
    // the low ones.
    hash ^= hash >>> 15;
  }
  return `${data.length}#${hash}`;
}

export function sameBits(a: HostArray, b: HostArray): boolean {
  const [x, y] = [bitsOf(a), bitsOf(b)];
  return x.length === y.length && (x as Int32Array).every((value, i) => value === (y as Int32Array)[i]);
}

/** Copies values. A bool becomes 0 or 1: a program may pass other bytes, and `cpu` keeps them. */
export function copy(from: ArrayLike<number>, to: HostArray): void {
  if (to instanceof Uint8Array) for (let i = 0; i < from.length; i++) to[i] = from[i] === 0 ? 0 : 1;
  // For a few numbers, a loop takes less time than `set`.
  else if (from.length > 8) (to as Float32Array).set(from);
  else for (let i = 0; i < from.length; i++) to[i] = from[i]!;
}

/** The value that all elements have in common, or null. -0 differs from 0. */
export function repeatedValue(values: ArrayLike<number>): number | null {
  const first = values[0];
  if (first === undefined) return null;
  for (let i = 0; i < values.length; i++) if (!Object.is(values[i], first)) return null;
  return Object.is(first, -0) ? null : first;
}
