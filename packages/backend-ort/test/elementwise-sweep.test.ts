import { describe, expect, it } from 'vitest';
import { tf } from '../src/tf.ts';
import type { Tensor } from './agree.ts';
import { compare, DTYPES, type Case, type DType } from './sweep.ts';

/**
 * Every kernel on one element or two, over special values and every dtype, evaluated and compiled, against TensorFlow.js's own `cpu` engine,
 * which computes in float64 and rounds, or against a formula in float64 where `cpu` itself cancels. Relative errors count, down to the
 * smallest numbers: at most 4 units in the last place.
 */

const FLOATS = [
  ...[NaN, Infinity, -Infinity, 0, -0, 1, -1, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 3, -3, 6, 7, -7, 10, -10],
  ...[1e-30, -1e-30, 1e-8, -1e-8, 1e-6, -1e-6, 1e-4, -1e-4, 0.01, -0.01, 0.1, -0.1, 0.3, -0.3, 0.999, -0.999, 1.001],
  ...[-13.9, -16, -17, 17, -20, 20, -40, 40, -60, 87, -87, 89, -89, -100, 100, 16777216, 16777217, -16777216, 3e9, -3e9, 1e30, -1e30, 3e38],
];
const WHOLE = [0, 1, -1, 2, -2, 3, -3, 5, 6, 7, -7, 10, 100, -100, 16777216, 16777217, -16777217, 2147483646, 2147483647, -2147483647, -2147483648]; // prettier-ignore
const VALUES: Record<DType, number[]> = { float32: FLOATS, int32: WHOLE, bool: [0, 1, 1, 0] };

const expm1 = (x: number, scale = 1): number => (x >= 0 ? x : scale * Math.expm1(x));
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const SELU = { alpha: 1.7580993408473768, scale: 1.0507009873554805 };

const unary: Record<string, Case> = {
  abs: { f: tf.abs, whole: (x) => Math.abs(x) | 0 },
  neg: { f: tf.neg },
  sign: { f: tf.sign },
  acos: { f: tf.acos },
  acosh: { f: tf.acosh },
  asin: { f: tf.asin },
  asinh: { f: tf.asinh },
  atan: { f: tf.atan },
  atanh: { f: tf.atanh },
  cos: { f: (x) => tf.cos(tf.clipByValue(x, -100, 100)) },
  sin: { f: (x) => tf.sin(tf.clipByValue(x, -100, 100)) },
  tan: { f: (x) => tf.tan(tf.clipByValue(x, -100, 100)) },
  cosh: { f: tf.cosh },
  sinh: { f: tf.sinh },
  tanh: { f: tf.tanh },
  erf: { f: tf.erf, ulps: Infinity },
  exp: { f: tf.exp },
  expm1: { f: tf.expm1 },
  log: { f: tf.log },
  log1p: { f: tf.log1p },
  sqrt: { f: tf.sqrt },
  rsqrt: { f: tf.rsqrt },
  square: { f: tf.square, whole: (x) => Math.imul(x, x) },
  reciprocal: { f: tf.reciprocal },
  sigmoid: { f: tf.sigmoid },
  logSigmoid: { f: tf.logSigmoid, exact: (x) => -softplus(-x) },
  softplus: { f: tf.softplus, exact: softplus, most: 1e6 },
  ceil: { f: tf.ceil },
  floor: { f: tf.floor },
  round: { f: tf.round },
  relu: { f: tf.relu },
  relu6: { f: tf.relu6 },
  elu: { f: tf.elu, exact: (x) => expm1(x) },
  selu: { f: tf.selu, exact: (x) => (x >= 0 ? SELU.scale * x : SELU.alpha * Math.expm1(x)), most: 1e6 },
  leakyRelu: { f: (x) => tf.leakyRelu(x, 0.3) },
  step: { f: (x) => tf.step(x, 0.5) },
  clip: { f: (x) => tf.clipByValue(x, -1.5, 2.5) },
  'clip, open above': { f: (x) => tf.clipByValue(x, 1, Infinity) },
  'clip, wide': { f: (x) => tf.clipByValue(x, -1e10, 1e10) },
  isNaN: { f: tf.isNaN },
  isInf: { f: tf.isInf },
  isFinite: { f: tf.isFinite },
  logicalNot: { f: tf.logicalNot },
  'cast to float32': { f: (x) => tf.cast(x, 'float32') },
  'cast to int32': { f: (x) => tf.cast(x, 'int32') },
  'cast to bool': { f: (x) => tf.cast(x, 'bool') },
  onesLike: { f: tf.onesLike },
  zerosLike: { f: tf.zerosLike },
};

/** float32 holds every whole number up to here. */
const EXACT = 2 ** 24;
const pairs: Record<string, Case> = {
  add: { f: tf.add, most: EXACT },
  sub: { f: tf.sub, most: EXACT },
  mul: { f: tf.mul, whole: Math.imul },
  div: { f: tf.div },
  realDiv: { f: (a, b) => tf.engine().runKernel('RealDiv', { a, b }) as Tensor, alike: true },
  divNoNan: { f: tf.divNoNan },
  floorDiv: { f: tf.floorDiv },
  mod: { f: tf.mod },
  pow: {
    f: tf.pow,
    most: EXACT,
    // As IEEE 754 has it; JavaScript's are NaN.
    exact: (x, y) => (x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y),
  },
  atan2: { f: tf.atan2 },
  maximum: { f: tf.maximum },
  minimum: { f: tf.minimum },
  squaredDifference: { f: tf.squaredDifference, most: EXACT, whole: (x, y) => Math.imul(x - y, x - y) },
  equal: { f: tf.equal },
  notEqual: { f: tf.notEqual },
  greater: { f: tf.greater },
  greaterEqual: { f: tf.greaterEqual },
  less: { f: tf.less },
  lessEqual: { f: tf.lessEqual },
  logicalAnd: { f: tf.logicalAnd },
  logicalOr: { f: tf.logicalOr },
  logicalXor: { f: tf.logicalXor },
  bitwiseAnd: { f: tf.bitwiseAnd },
  prelu: { f: tf.prelu },
  where: { f: (a, b) => tf.where(tf.greater(a, b), a, b) },
  addN: { f: (a, b) => tf.addN([a, b, a]) },
  eluGrad: { f: (dy, y) => tf.engine().runKernel('EluGrad', { dy, y }) as Tensor },
};

describe('a kernel on one element', () => {
  for (const [name, one] of Object.entries(unary)) {
    it(`${name} gives what cpu gives for every dtype`, async () => {
      const faults: string[] = [];
      for (const dtype of DTYPES) {
        const values = VALUES[dtype].filter((x) => dtype !== 'int32' || Math.abs(x) <= (one.most ?? Infinity));
        faults.push(...(await compare(name, one, [{ values, dtype }])));
      }
      expect(faults).toEqual([]);
    });
  }
});

describe('a kernel on two elements', () => {
  for (const [name, one] of Object.entries(pairs)) {
    it(`${name} gives what cpu gives for every pair of dtypes`, async () => {
      const faults: string[] = [];
      for (const a of DTYPES) {
        for (const b of DTYPES) {
          if (one.alike && a !== b) continue;
          const isMixed = a !== b && (a === 'float32' || b === 'float32');
          const of = (dtype: DType): number[] =>
            isMixed && dtype === 'int32' ? WHOLE.filter((x) => Math.abs(x) <= (one.most ?? Infinity)) : VALUES[dtype];
          const all = of(a).flatMap((x) => of(b).map((y) => [x, y]));
          const args = [
            { values: all.map(([x]) => x!), dtype: a },
            { values: all.map(([, y]) => y!), dtype: b },
          ];
          faults.push(...(await compare(name, one, args)));
        }
      }
      expect(faults).toEqual([]);
    });
  }
});
