/** Inputs of the value audit: special float32 numbers, their neighbours, random bits, and numbers of ordinary size. */

const bits = new Uint32Array(1);
const asFloat = new Float32Array(bits.buffer);
const floatOf = (pattern: number): number => {
  bits[0] = pattern;
  return asFloat[0]!;
};
const bitsOf = (value: number): number => {
  asFloat[0] = value;
  return bits[0]!;
};

const MIDDLE = [
  0.25,
  1 / 3,
  0.5,
  2 / 3,
  0.75,
  0.999,
  1,
  1.001,
  1.25,
  Math.SQRT2,
  1.5,
  Math.PI / 2,
  2,
  2.5,
  3,
  Math.PI,
  3.5,
  4.5,
  6,
  7,
  10,
  30,
];
const LARGE = [
  Math.PI * 16,
  87.3,
  88.7,
  88.73,
  89,
  100,
  103.5,
  104,
  1000,
  4096.5,
  65_536,
  2 ** 23,
  2 ** 24,
  1e7,
  3e9,
  2 ** 31,
  2 ** 32,
  2 ** 63,
];
const ENDS = [
  1e15,
  1e20,
  1e30,
  1e38,
  3.4028234663852886e38,
  1e-3,
  1e-4,
  1e-6,
  2 ** -24,
  1e-8,
  1e-20,
  1e-30,
  2 ** -126,
  2 ** -127,
  1e-40,
  2 ** -149,
];

/** ±0, ±∞, NaN, and for each other number both signs and its two neighbours: the smallest, the largest, ties of rounding, the limits of the exponential, … */
export const SPECIAL: readonly number[] = [
  ...[0, -0, Infinity, -Infinity, NaN],
  ...[...MIDDLE, ...LARGE, ...ENDS].flatMap((value) =>
    [-1, 0, 1].flatMap((step) => [floatOf(bitsOf(value) + step), -floatOf(bitsOf(value) + step)]),
  ),
];

/** A stream of random 32-bit patterns, the same for the same seed. */
function patterns(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b1) >>> 0;
  return () => {
    // Two steps of a linear congruential generator; the high half of each is used, because the low bits are regular.
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const high = state & 0xffff0000;
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (high | (state >>> 16)) >>> 0;
  };
}

/** The special numbers, then random bits, numbers between -20 and 20, and numbers near ±1, a third of the rest each. */
export function floats(count: number, seed = 1): Float32Array {
  const next = patterns(seed);
  const uniform = (): number => next() / 2 ** 31 - 1;
  return Float32Array.from({ length: Math.max(count, SPECIAL.length) }, (_, i) => {
    if (i < SPECIAL.length) return SPECIAL[i]!;
    if (i % 3 === 0) return floatOf(next());
    if (i % 3 === 1) return 20 * uniform();
    return Math.sign(uniform()) * (1 + 2 ** (-24 * Math.abs(uniform())) * uniform());
  });
}

/** Two operands: pairs of special numbers, independent numbers, and numbers that are close to each other. */
export function pairs(count: number, seed = 1): [Float32Array, Float32Array] {
  const [a, b] = [floats(count, seed), floats(count, seed + 1000)];
  const next = patterns(seed + 2000);
  for (let i = 0; i < a.length; i++) {
    if (i < SPECIAL.length || i % 4 === 0) b[i] = SPECIAL[next() % SPECIAL.length]!;
    else if (i % 4 === 1) b[i] = a[i]! * (1 + 2 ** -(next() % 24));
  }
  return [a, b];
}

/** Numbers in [low, high). */
export function between(low: number, high: number, count: number, seed = 1): Float32Array {
  const next = patterns(seed);
  return Float32Array.from({ length: count }, () => low + ((high - low) * next()) / 2 ** 32);
}
