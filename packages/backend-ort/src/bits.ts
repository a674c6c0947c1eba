import type { HostArray } from './onnx.ts';

/** Constants up to this many elements are known by their content, larger ones by a hash of it. */
export const SMALL_CONSTANT = 64;

/** As whole numbers, which tell apart +0 and -0, and every NaN. */
export function bitsOf(data: HostArray): Int32Array | Uint8Array | BigInt64Array {
  return data instanceof Float32Array ? new Int32Array(data.buffer, data.byteOffset, data.length) : data;
}

/** A hash to look constants up by (32-bit FNV-1a over words); equal hashes say nothing before `sameBits` has. */
export function hashOf(data: HostArray): string {
  const words =
    data instanceof Uint8Array ? data : new Int32Array(data.buffer, data.byteOffset, data.byteLength / Int32Array.BYTES_PER_ELEMENT);
  let hash = 0x811c9dc5;
  for (let i = 0; i < words.length; i++) {
    hash = Math.imul(hash ^ words[i]!, 0x01000193);
    // Multiplication carries upward only: the high bits of a word, where small floats differ, must reach the low ones.
    hash ^= hash >>> 15;
  }
  return `${data.length}#${hash}`;
}

export function sameBits(a: HostArray, b: HostArray): boolean {
  const [x, y] = [bitsOf(a), bitsOf(b)];
  return x.length === y.length && (x as Int32Array).every((value, i) => value === (y as Int32Array)[i]);
}
