import { childKey, keySchedule, threefryBlocks, type Key } from './threefry.ts';
import { tf, type Tensor } from './tf.ts';
import { height, inside, LAYERS, step, TAIL } from './ziggurat.ts';

/** The full state of a stream, as plain JSON: its key and the number of 32-bit words drawn so far. */
export type RngState = { algorithm: 'threefry4x32-20'; key: [number, number, number, number]; position: number };

const ALGORITHM = 'threefry4x32-20';
/** "atelier.rng" in ASCII: the root key, from which the keys of all seeds are derived. */
const ROOT: Key = [0x6174656c, 0x6965722e, 0x726e6700, 0];
const BUFFER_WORDS = 1024;
const TWO_32 = 2 ** 32;

/**
 * A counter-based, splittable stream of random numbers (Threefry-4x32-20).
 *
 * - The numbers depend only on the seed, the path of child names, and the count of words drawn before. They are the same on every engine.
 * - `child(name)` depends only on the seed and the path of names. It does not depend on how many numbers were drawn from this or any other
 *   stream.
 * - Draws can be split: `normals(3)` and then `normals(4)` give the numbers of `normals(7)`.
 *
 * Seeds and names are strings. A number is used as the string of its decimal digits, so `new Rng(7)` is `new Rng('7')`.
 */
export class Rng {
  #key: Key;
  #schedule: Int32Array;
  #words = new Int32Array(0);
  /** The number of filled words in the buffer, the next word to use, and the position in the stream of the first word (a multiple of 4). */
  #filled = 0;
  #next = 0;
  #origin = 0;

  /** @throws Error if `seed` is neither a safe integer nor a string with at least one character. */
  constructor(seed: number | string) {
    this.#key = childKey(ROOT, name('Rng', 'seed', seed));
    this.#schedule = keySchedule(this.#key);
  }

  /** The child stream with the name `as`. Draws from one stream do not change the other. */
  child(as: number | string): Rng {
    return Rng.#at(childKey(this.#key, name('Rng.child', 'name', as)), 0);
  }

  /** [n] float32, uniform in [0, 1), multiples of 2⁻²⁴. */
  uniforms(n: number): Float32Array {
    const out = new Float32Array(count('Rng.uniforms', n));
    for (let i = 0; i < n;) {
      const [words, end] = this.#run(n - i);
      let next = this.#next;
      while (next < end) out[i++] = (words[next++]! >>> 8) * 2 ** -24;
      this.#next = next;
    }
    return out;
  }

  /** [n] float32, standard normal. Every bit is reproducible on V8 (another JavaScript engine may round the logarithm and exponential differently). */
  normals(n: number): Float32Array {
    const out = new Float32Array(count('Rng.normals', n));
    let i = 0;
    while (i < n) {
      // In most cases a number needs one word, which is read from the buffer. In rare cases it needs more words, and these change the
      // position in the stream.
      const [words, end] = this.#run(n - i);
      let next = this.#next;
      let word = 0;
      let layer = 0;
      let sure = true;
      while (sure && next < end) {
        word = words[next++]!;
        layer = word & (LAYERS - 1);
        sure = word >>> 8 < inside[layer]!;
        // Bit 7 is the sign.
        out[i++] = (1 - ((word >>> 6) & 2)) * ((word >>> 8) * step[layer]!);
      }
      this.#next = next;
      if (!sure) out[i - 1] = (1 - ((word >>> 6) & 2)) * this.#rare(layer, word >>> 8);
    }
    return out;
  }

  /**
   * [n] int32, uniform in [low, high), without bias.
   * @throws Error unless low and high are whole numbers with -2³¹ ≤ low < high ≤ 2³¹.
   */
  integers(n: number, low: number, high: number): Int32Array {
    const out = new Int32Array(count('Rng.integers', n));
    if (!Number.isInteger(low) || !Number.isInteger(high) || low >= high || low < -(2 ** 31) || high > 2 ** 31) {
      throw new Error(`Rng.integers: wanted whole numbers -2^31 <= low < high <= 2^31, got low ${low}, high ${high}`);
    }
    for (let i = 0; i < n; i++) out[i] = low + this.#below(high - low, n - i);
    return out;
  }

  /** [n] int32, the numbers 0 … n-1 in uniformly random order. */
  permutation(n: number): Int32Array {
    const out = Int32Array.from({ length: count('Rng.permutation', n) }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.#below(i + 1, i);
      const moved = out[i]!;
      out[i] = out[j]!;
      out[j] = moved;
    }
    return out;
  }

  /**
   * Tensor of `shape`, float32, uniform in [low, high).
   * @throws Error unless low and high are finite and, as float32, low < high.
   */
  uniform(shape: readonly number[], low = 0, high = 1): Tensor {
    const size = sizeOf('Rng.uniform', shape);
    const [from, to] = [Math.fround(low), Math.fround(high)];
    if (!(from < to) || !Number.isFinite(from) || !Number.isFinite(to))
      throw new Error(`Rng.uniform: wanted finite low < high, got low ${low}, high ${high}`);
    const values = this.uniforms(size);
    for (let i = 0; i < size; i++) {
      let value = Math.fround(from + (to - from) * values[i]!);
      // Rounding to float32 can reach the excluded end. Then a new number is drawn, so that the interval stays half open.
      while (value >= to) value = Math.fround(from + (to - from) * ((this.#word(1) >>> 8) * 2 ** -24));
      values[i] = value;
    }
    return tf.tensor(values, [...shape], 'float32');
  }

  /** Tensor of `shape`, float32, standard normal. */
  normal(shape: readonly number[]): Tensor {
    return tf.tensor(this.normals(sizeOf('Rng.normal', shape)), [...shape], 'float32');
  }

  /** The state that `Rng.restore` needs to continue with exactly the next number. */
  state(): RngState {
    return { algorithm: ALGORITHM, key: [...this.#key], position: this.#origin + this.#next };
  }

  /**
   * A stream from a `state()`, which may have been saved as JSON.
   * @throws Error if `state` is not such a state.
   */
  static restore(state: RngState): Rng {
    const { algorithm, key, position } = (state ?? {}) as Partial<RngState>;
    if (algorithm !== ALGORITHM) throw new Error(`Rng.restore: wanted algorithm '${ALGORITHM}', got ${JSON.stringify(algorithm)}`);
    if (!Array.isArray(key) || key.length !== 4 || !key.every((k) => Number.isInteger(k) && k >= 0 && k < TWO_32)) {
      throw new Error(`Rng.restore: wanted a key of four whole numbers below 2^32, got ${JSON.stringify(key)}`);
    }
    if (!Number.isSafeInteger(position) || position! < 0)
      throw new Error(`Rng.restore: wanted a position that is a whole number >= 0, got ${JSON.stringify(position)}`);
    return Rng.#at(key, position!);
  }

  static #at(key: Key, position: number): Rng {
    const rng = new Rng(0);
    rng.#key = [key[0], key[1], key[2], key[3]];
    rng.#schedule = keySchedule(rng.#key);
    rng.#origin = position - (position % 4);
    rng.#next = position % 4;
    return rng;
  }

  /**
   * The next 32 random bits as an int32. `wanted` is the number of words that the caller will probably need. If the buffer is empty, that
   * many are computed.
   */
  #word(wanted: number): number {
    if (this.#next >= this.#filled) this.#refill(wanted);
    return this.#words[this.#next++]!;
  }

  /** The buffer (filled again if it was empty), and the end of the next `wanted` words in it, counted from `#next`. */
  #run(wanted: number): [words: Int32Array, end: number] {
    if (this.#next >= this.#filled) this.#refill(wanted);
    return [this.#words, Math.min(this.#filled, this.#next + wanted)];
  }

  #refill(wanted: number): void {
    const position = this.#origin + this.#next;
    const blocks = Math.ceil((Math.min(Math.max(wanted, 1), BUFFER_WORDS - 4) + (position % 4)) / 4);
    if (this.#words.length < 4 * blocks) this.#words = new Int32Array(wanted < 64 ? Math.max(64, 4 * blocks) : BUFFER_WORDS);
    this.#origin = position - (position % 4);
    this.#next = position % 4;
    this.#filled = 4 * blocks;
    threefryBlocks(this.#schedule, this.#origin / 4, blocks, this.#words);
  }

  /** Uniform in (0, 1), without the ends. */
  #open(): number {
    return ((this.#word(1) >>> 0) + 0.5) / TWO_32;
  }

  /** Uniform in 0 … range - 1. Words at or above the largest multiple of the range are drawn again, so that there is no bias. */
  #below(range: number, wanted: number): number {
    const limit = TWO_32 - (TWO_32 % range);
    let word = this.#word(wanted) >>> 0;
    while (word >= limit) word = this.#word(1) >>> 0;
    return word % range;
  }

  /**
   * For draws that the simple test of the layer does not accept (about 1.2 %), |x| of a normal number: from the tail, from the edge of a
   * layer, or from a new draw.
   */
  #rare(layer: number, magnitude: number): number {
    for (;;) {
      const x = magnitude * step[layer]!;
      if (magnitude < inside[layer]!) return x;
      if (layer === 0) return this.#tail();
      const below = height[layer]!;
      const above = layer === LAYERS - 1 ? 1 : height[layer + 1]!;
      if (below + this.#open() * (above - below) < Math.exp(-0.5 * x * x)) return x;
      const word = this.#word(1);
      layer = word & (LAYERS - 1);
      magnitude = word >>> 8;
    }
  }

  /** A normal beyond the last edge: "Generating a variable from the tail of the normal distribution", Marsaglia, Technometrics 6, 1964. */
  #tail(): number {
    for (;;) {
      const x = -Math.log(this.#open()) / TAIL;
      const y = -Math.log(this.#open());
      if (2 * y > x * x) return TAIL + x;
    }
  }
}

function name(where: string, what: string, value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value);
  throw new Error(
    `${where}: wanted a whole number or a text with at least one character as ${what}, got ${typeof value === 'string' ? "''" : String(value)}`,
  );
}

function count(where: string, n: number): number {
  if (!Number.isSafeInteger(n) || n < 0) throw new Error(`${where}: wanted a whole number n >= 0, got ${n}`);
  return n;
}

function sizeOf(where: string, shape: readonly number[]): number {
  if (!Array.isArray(shape) || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw new Error(`${where}: wanted a shape of whole numbers >= 0, got ${JSON.stringify(shape)}`);
  }
  return shape.reduce((a, b) => a * b, 1);
}
