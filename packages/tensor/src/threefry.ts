/**
 * Threefry-4x32 with 20 rounds: an invertible function of four 32-bit words with a key, made of additions, rotations and exclusive ors
 * only.
 *
 * "Parallel random numbers: as easy as 1, 2, 3", Salmon et al., SC 2011, section 3.3. Rotations and key schedule are those of Skein. Word n
 * of a stream depends only on (key, n). So one number is enough to save a stream, to restore it, or to jump ahead.
 */

/** Four 32-bit words: the key of a stream. */
export type Key = readonly [number, number, number, number];

/** Rotations of the eight rounds of a cycle, two for each round. */
const ROTATIONS = Int32Array.of(10, 26, 11, 21, 13, 27, 23, 5, 6, 20, 17, 11, 25, 10, 18, 20);
const PARITY = 0x1bd11bda;
const TWO_32 = 2 ** 32;

/** The key and its parity word, repeated with period 5, so that four words can be read from each of the positions 0 … 5. */
export function keySchedule([k0, k1, k2, k3]: Key): Int32Array {
  return Int32Array.of(k0, k1, k2, k3, PARITY ^ k0 ^ k1 ^ k2 ^ k3, k0, k1, k2, k3);
}

/** Encrypts the counter (c0, c1, c2, c3) and writes the result to `out[at … at + 3]`. */
export function threefry(schedule: Int32Array, c0: number, c1: number, c2: number, c3: number, out: Int32Array, at: number): void {
  let a = (c0 + schedule[0]!) | 0;
  let b = (c1 + schedule[1]!) | 0;
  let c = (c2 + schedule[2]!) | 0;
  let d = (c3 + schedule[3]!) | 0;
  for (let group = 1; group <= 5; group++) {
    const r = group & 1 ? 0 : 8;
    a = (a + b) | 0;
    b = rotate(b, ROTATIONS[r]!) ^ a;
    c = (c + d) | 0;
    d = rotate(d, ROTATIONS[r + 1]!) ^ c;
    a = (a + d) | 0;
    d = rotate(d, ROTATIONS[r + 2]!) ^ a;
    c = (c + b) | 0;
    b = rotate(b, ROTATIONS[r + 3]!) ^ c;
    a = (a + b) | 0;
    b = rotate(b, ROTATIONS[r + 4]!) ^ a;
    c = (c + d) | 0;
    d = rotate(d, ROTATIONS[r + 5]!) ^ c;
    a = (a + d) | 0;
    d = rotate(d, ROTATIONS[r + 6]!) ^ a;
    c = (c + b) | 0;
    b = rotate(b, ROTATIONS[r + 7]!) ^ c;
    a = (a + schedule[group]!) | 0;
    b = (b + schedule[group + 1]!) | 0;
    c = (c + schedule[group + 2]!) | 0;
    d = (d + schedule[group + 3]! + group) | 0;
  }
  out[at] = a;
  out[at + 1] = b;
  out[at + 2] = c;
  out[at + 3] = d;
}

/**
 * Fills `out[0 … 4·blocks - 1]` with the blocks `first`, `first + 1`, … of a stream. Block n is the encrypted counter (n mod 2³², ⌊n /
 * 2³²⌋, 0, 0).
 */
export function threefryBlocks(schedule: Int32Array, first: number, blocks: number, out: Int32Array): void {
  for (let i = 0; i < blocks; i++) {
    const block = first + i;
    threefry(schedule, block % TWO_32, Math.floor(block / TWO_32), 0, 0, out, 4 * i);
  }
}

/**
 * The key of the child `text` of `parent`. The UTF-8 bytes of the text are encrypted into the next key, twelve at a time. So different
 * texts give unrelated keys.
 */
export function childKey(parent: Key, text: string): Key {
  const bytes = new TextEncoder().encode(text);
  const padded = new DataView(new ArrayBuffer(Math.max(1, Math.ceil(bytes.length / 12)) * 12));
  bytes.forEach((byte, i) => padded.setUint8(i, byte));
  const out = new Int32Array(4);
  let key = parent;
  for (let at = 0; at < padded.byteLength; at += 12) {
    // The last word says how many bytes remain. Here it is never zero, and for draws it is always zero. So the intermediate keys of a text
    // are never the keys of a shorter text.
    const remaining = 0x80000000 | (bytes.length - at) | 0;
    threefry(keySchedule(key), padded.getInt32(at, true), padded.getInt32(at + 4, true), padded.getInt32(at + 8, true), remaining, out, 0);
    key = [out[0]! >>> 0, out[1]! >>> 0, out[2]! >>> 0, out[3]! >>> 0];
  }
  return key;
}

function rotate(x: number, by: number): number {
  return (x << by) | (x >>> (32 - by));
}
