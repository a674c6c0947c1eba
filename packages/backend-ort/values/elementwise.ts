import { tf } from '../src/tf.ts';
import { compiled, evaluate, type Tensor } from './evaluate.ts';
import { floats, pairs, SPECIAL } from './floats.ts';
import { erf, normalDistribution, roundHalfToEven } from './special-functions.ts';
import { larger, worstOf, type Worst } from './ulp.ts';

/** Functions of one element or two, against the same function in float64. */
export interface Elementwise {
  /** The kernel that is called. */
  kernel: string;
  /** What the bound does not cover, or which part of the kernel is measured. */
  about?: string;
  f: (...xs: Tensor[]) => Tensor;
  exact: (...xs: number[]) => number;
  /** Largest error in ulp. A correctly rounded result has at most 0.5. */
  bound: number;
  /** Results below this number, 2⁻¹²⁶ if absent, have a bound of their own, in units of 2⁻¹⁴⁹. It is 1 if absent. */
  tiny?: { below?: number; bound: number };
  /** The unit of the error, where it is not that of the result. */
  scale?: (...xs: number[]) => number;
  /** Why the error is larger than that of a good library, and what exactness would cost. */
  reason?: string;
}

const run = (name: string, x: Tensor, attributes: object = {}): Tensor => tf.engine().runKernel(name, { x }, attributes as never) as Tensor;
const f32 = Math.fround;
const ALPHA = f32(0.3);
const SELU = { alpha: f32(tf.backend_util.SELU_SCALEALPHA), scale: f32(tf.backend_util.SELU_SCALE) };
/** Why it is not 1 ulp. */
const POLYNOMIAL = 'a polynomial in float32; ONNX Runtime has no float64 kernel for it';
/** ONNX Runtime's tanh multiplies by 0.0049 first, so digits of the very smallest numbers are lost. */
const SMALL = { below: 2 ** -116, bound: 2048 };
const SMALL_REASON = 'a quotient of polynomials in float32; below 1.2e-35 digits are lost. In float64 it takes 4.8 times as long';
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const geluTanh = (x: number): number => x / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const sign = (x: number): number => (x < 0 ? -1 : x > 0 ? 1 : 0);

const exactly = (kernel: string, f: Elementwise['f'], exact: Elementwise['exact']): Elementwise => ({
  kernel,
  f,
  exact,
  bound: 0,
  tiny: { bound: 0 },
});

export const unary: Elementwise[] = [
  exactly('Abs', tf.abs, Math.abs),
  exactly('Neg', tf.neg, (x) => -x),
  exactly('Sign', tf.sign, sign),
  exactly('Ceil', tf.ceil, Math.ceil),
  exactly('Floor', tf.floor, Math.floor),
  exactly('Round', tf.round, roundHalfToEven),
  exactly('Relu', tf.relu, (x) => (x < 0 ? 0 : x)),
  exactly('Relu6', tf.relu6, (x) => (x < 0 ? 0 : x > 6 ? 6 : x)),
  exactly(
    'Step',
    (x) => tf.step(x, 0.5),
    (x) => (Number.isNaN(x) ? x : x > 0 ? 1 : 0.5),
  ),
  exactly(
    'ClipByValue',
    (x) => tf.clipByValue(x, -1.5, 2.5),
    (x) => (x < -1.5 ? -1.5 : x > 2.5 ? 2.5 : x),
  ),
  { kernel: 'Sqrt', f: tf.sqrt, exact: Math.sqrt, bound: 0.5 },
  { kernel: 'Square', f: tf.square, exact: (x) => x * x, bound: 0.5 },
  { kernel: 'Reciprocal', f: tf.reciprocal, exact: (x) => 1 / x, bound: 0.5 },
  { kernel: 'LeakyRelu', f: (x) => tf.leakyRelu(x, 0.3), exact: (x) => (x < 0 ? ALPHA * x : x), bound: 0.5 },
  { kernel: 'Rsqrt', f: tf.rsqrt, exact: (x) => 1 / Math.sqrt(x), bound: 2 },
  { kernel: 'Acos', f: tf.acos, exact: Math.acos, bound: 5, reason: POLYNOMIAL },
  { kernel: 'Acosh', f: tf.acosh, exact: Math.acosh, bound: 2 },
  { kernel: 'Asin', f: tf.asin, exact: Math.asin, bound: 5, reason: POLYNOMIAL },
  { kernel: 'Asinh', f: tf.asinh, exact: Math.asinh, bound: 2 },
  { kernel: 'Atan', f: tf.atan, exact: Math.atan, bound: 5, reason: POLYNOMIAL },
  { kernel: 'Atanh', f: tf.atanh, exact: Math.atanh, bound: 2 },
  { kernel: 'Cos', f: tf.cos, exact: Math.cos, bound: 2 },
  { kernel: 'Sin', f: tf.sin, exact: Math.sin, bound: 2 },
  { kernel: 'Tan', f: tf.tan, exact: Math.tan, bound: 1 },
  { kernel: 'Cosh', f: tf.cosh, exact: Math.cosh, bound: 1 },
  { kernel: 'Sinh', f: tf.sinh, exact: Math.sinh, bound: 2 },
  { kernel: 'Tanh', f: tf.tanh, exact: Math.tanh, bound: 6, tiny: SMALL, reason: SMALL_REASON },
  { kernel: 'Erf', f: tf.erf, exact: erf, bound: 1 },
  { kernel: 'Exp', f: tf.exp, exact: Math.exp, bound: 1 },
  { kernel: 'Expm1', f: tf.expm1, exact: Math.expm1, bound: 6, tiny: SMALL, reason: SMALL_REASON },
  { kernel: 'Log', f: tf.log, exact: Math.log, bound: 4 },
  { kernel: 'Log1p', f: tf.log1p, exact: Math.log1p, bound: 4 },
  { kernel: 'Sigmoid', f: tf.sigmoid, exact: (x) => 1 / (1 + Math.exp(-x)), bound: 3 },
  { kernel: 'Softplus', f: tf.softplus, exact: softplus, bound: 5, reason: 'log(1 + e^x) of two float32 functions' },
  { kernel: 'Elu', f: tf.elu, exact: (x) => (x >= 0 ? x : Math.expm1(x)), bound: 6, tiny: SMALL, reason: SMALL_REASON },
  {
    kernel: 'Selu',
    f: tf.selu,
    exact: (x) => (x >= 0 ? SELU.scale * x : SELU.alpha * Math.expm1(x)),
    bound: 6,
    tiny: SMALL,
    reason: SMALL_REASON,
  },
  {
    kernel: 'FastSigmoid',
    f: (x) => run('FastSigmoid', x),
    exact: (x) => 1 / (1 + Math.exp(-x)),
    scale: () => 1,
    about: 'in ulp of 1',
    bound: 2,
  },
  {
    kernel: 'GeluTanh',
    f: (x) => run('GeluTanh', x),
    exact: (x) => (x === -Infinity ? NaN : x < -20 ? -0 : geluTanh(x)),
    scale: Math.abs,
    about: 'in ulp of x',
    bound: 3,
  },
  {
    kernel: 'GeluErf',
    f: (x) => run('GeluErf', x),
    exact: (x) => (x === -Infinity ? NaN : x * normalDistribution(x)),
    scale: Math.abs,
    about: 'in ulp of x',
    bound: 2,
  },
];

const remainder = (a: number, b: number): number => {
  const rest = a % b;
  return (a < 0 && b < 0) || (a >= 0 && b >= 0) ? rest : (rest + b) % b;
};

export const binary: Elementwise[] = [
  { kernel: 'Add', f: tf.add, exact: (a, b) => a + b, bound: 0.5 },
  { kernel: 'Sub', f: tf.sub, exact: (a, b) => a - b, bound: 0.5 },
  { kernel: 'Multiply', f: tf.mul, exact: (a, b) => a * b, bound: 0.5 },
  { kernel: 'RealDiv', f: tf.div, exact: (a, b) => a / b, bound: 0.5 },
  { kernel: 'Mod', f: tf.mod, exact: remainder, bound: 0.5 },
  exactly('Maximum', tf.maximum, Math.max),
  exactly('Minimum', tf.minimum, Math.min),
  { kernel: 'SquaredDifference', f: tf.squaredDifference, exact: (a, b) => (a - b) ** 2, bound: 3 },
  { kernel: 'Prelu', f: (a, b) => tf.prelu(a, b), exact: (x, alpha) => (x < 0 ? x * alpha : x), bound: 0.5 },
  {
    kernel: 'EluGrad',
    f: (dy, y) => tf.engine().runKernel('EluGrad', { dy, y: tf.maximum(y, -1) }) as Tensor,
    exact: (dy, y) => (y >= 0 ? dy : dy * (Math.max(y, -1) + 1)),
    bound: 2,
  },
  {
    kernel: 'AddN',
    f: (a, b) => tf.addN([a, b, a]),
    exact: (a, b) => a + b + a,
    scale: (a, b) => 2 * Math.abs(a) + Math.abs(b),
    about: 'a + b + a, in ulp of Σ|x|',
    bound: 1,
  },
  // IEEE 754: 1 to any power is 1, and -1 to an infinite power. JavaScript gives NaN.
  { kernel: 'Pow', f: tf.pow, exact: (x, y) => (x === 1 || (x === -1 && Math.abs(y) === Infinity) ? 1 : x ** y), bound: 1 },
  { kernel: 'Atan2', f: tf.atan2, exact: Math.atan2, bound: 5, reason: POLYNOMIAL },
  { kernel: 'ComplexAbs', f: (a, b) => tf.abs(tf.complex(a, b)), exact: (a, b) => Math.sqrt(a * a + b * b), bound: 0.5 },
];

/** Pieces of this length go through the ends of the loops, where a kernel may compute in another way. */
const PIECE = 7;

/** The largest error over `count` inputs, evaluated and compiled, and over special numbers in short tensors. */
export function measure({ f, exact, scale, tiny }: Elementwise, count: number, seed = 1): Worst {
  const inputs = exact.length === 1 ? [floats(count, seed)] : pairs(count, seed);
  const judge = (args: Float32Array[], results: readonly Float32Array[]): Worst => {
    const at = Array.from(args[0]!, (_, i) => args.map((x) => x[i]!));
    const right = at.map((xs) => exact(...xs));
    const sizes = scale && at.map((xs) => scale(...xs));
    const name = (i: number): string => at[i]!.map((x) => (Object.is(x, -0) ? '-0' : x)).join();
    return results.map((got) => worstOf(got, right, name, { scale: sizes, tiny: tiny?.below })).reduce(larger);
  };
  const argument = (data: Float32Array) => ({ data, shape: [data.length] });
  let worst = judge(inputs, [evaluate(f, inputs.map(argument)), compiled(f, inputs.map(argument))]);
  for (let i = 0; i < SPECIAL.length; i += PIECE) {
    const piece = inputs.map((x) => x.slice(i, i + PIECE));
    worst = larger(worst, judge(piece, [evaluate(f, piece.map(argument))]));
  }
  return worst;
}
