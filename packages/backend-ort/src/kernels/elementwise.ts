import { broadcastShape, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import type { OnnxType } from '../onnx.ts';
import { tf } from '../tf.ts';

/** Kernels that act on each element separately. */

const float = (k: KernelCall, name = 'x'): Node => k.graph.cast(k.node(name), 'float32');

/** An ONNX operator for floats. */
const unary = (op: string) => (k: KernelCall) => k.graph.unary(op, float(k));
/** An operator that also takes int32. The result has the type of x. */
const numeric = (op: string) => (k: KernelCall) => {
  const x = k.node('x');
  return k.graph.cast(k.graph.unary(op, numberOf(k.graph, x)), x.dtype);
};
/** Rounding changes nothing for integers. */
const rounding = (op: string) => (k: KernelCall) => (k.node('x').dtype === 'float32' ? k.graph.unary(op, k.node('x')) : k.node('x'));
/** A function of floats. Its result is stored in the type of x. */
const stored =
  (f: (g: Graph, x: Node) => Node) =>
  (k: KernelCall): Node =>
    storedAs(k.graph, f(k.graph, float(k)), k.node('x').dtype);
const storedUnary = (op: string) => stored((g, x) => g.unary(op, x));

/** Turns bool into int32, because arithmetic operators do not accept bool. */
export const numberOf = (g: Graph, x: Node): Node => (x.dtype === 'bool' ? g.cast(x, 'int32') : x);

/**
 * Selects elements, with broadcasting. ONNX Runtime's operator does not accept bool. If `a` is selected where it is -0, it gives 0; for `b` it keeps
 * the sign. So the operand whose zeros need their sign is `b`. (A `Not` before the condition does not help: ONNX Runtime swaps the operands then.)
 */
export const where = (g: Graph, condition: Node, a: Node, b: Node): Node => {
  const shape = broadcastShape(condition.shape, broadcastShape(a.shape, b.shape, 'Where'), 'Where');
  const pick = (x: Node, y: Node): Node => g.add('Where', [condition, x, y], {}, shape, x.dtype);
  return a.dtype === 'bool' ? g.cast(pick(numberOf(g, a), numberOf(g, b)), 'bool') : pick(a, b);
};

/** Converts floats as an `Int32Array` does: cut towards 0, modulo 2³², and 0 for NaN and ±∞. */
function wholeOf(g: Graph, x: Node): Node {
  const constant = (value: number): Node => g.cast(g.scalar(value), x.dtype);
  // At 2⁶³ and above, every float32 is a multiple of 2³², so the result is 0. For a float64 this is not so.
  const small = x.dtype === 'float32' ? x : g.binary('Mod', x, constant(2 ** 32), x.dtype, { fmod: 1 });
  const fits = g.binary('Less', g.unary('Abs', small), constant(2 ** 63), 'bool');
  const long = g.cast(where(g, fits, small, constant(0)), 'int64');
  // Without this remainder, ONNX Runtime would merge the two casts into one, which does not compute modulo 2³².
  return g.cast(g.binary('Mod', long, g.scalar(2 ** 32, 'int64')), 'int32');
}

/** Converts floats to the type of a result, as TensorFlow.js does. As bool, every number except 0 is true. */
export function storedAs(g: Graph, x: Node, dtype: OnnxType): Node {
  if (dtype === 'float32') return g.cast(x, 'float32');
  return g.cast(wholeOf(g, x), dtype);
}

/**
 * σ(x) = eˣ / (eˣ + 1). The relative error is at most two units in the last place. ONNX Runtime's own operator has an absolute error of
 * 1e-7, which is larger than σ(-17). From x = 30 on the result is 1.
 */
export function sigmoid(g: Graph, x: Node): Node {
  const e = g.unary('Exp', g.binary('Min', x, g.scalar(30)));
  return g.binary('Div', e, g.binary('Add', e, g.scalar(1)));
}

/** eˣ - 1 = 2 tanh(x/2) / (1 - tanh(x/2)). This form is exact to the last digits even if eˣ is close to 1. */
function expm1(g: Graph, x: Node): Node {
  const half = g.unary('Tanh', g.binary('Mul', x, g.scalar(0.5)));
  const small = g.binary('Div', g.binary('Mul', half, g.scalar(2)), g.binary('Sub', g.scalar(1), half));
  return where(
    g,
    g.binary('GreaterOrEqual', g.unary('Abs', x), g.scalar(1), 'bool'),
    g.binary('Sub', g.unary('Exp', x), g.scalar(1)),
    small,
  );
}

/** scale · x for x ≥ 0, and alpha · (eˣ - 1) for x < 0. */
export function exponentialLinear(g: Graph, x: Node, alpha = 1, scale = 1): Node {
  const negative = g.binary('Less', x, g.scalar(0), 'bool');
  return where(g, negative, g.binary('Mul', expm1(g, x), g.scalar(alpha)), g.binary('Mul', x, g.scalar(scale)));
}

/** log(1 + x) = log(u) x / (u - 1) with u = 1 + x, rounded. The rounding error of u cancels (Kahan). */
function log1p(g: Graph, x: Node): Node {
  const u = g.binary('Add', x, g.scalar(1));
  const log = g.unary('Log', u);
  const moved = g.binary('Sub', u, g.scalar(1));
  const corrected = g.binary('Mul', log, g.binary('Div', x, moved));
  const exact = where(g, g.binary('Greater', g.unary('Abs', moved), g.scalar(0), 'bool'), corrected, x);
  return where(g, g.binary('GreaterOrEqual', g.unary('Abs', x), g.scalar(1), 'bool'), log, exact);
}

/** A limit of `ClipByValue` in the type of x. For int32 it is moved into the range of int32. */
function bound(k: KernelCall, name: string, dtype: OnnxType): Node {
  const value = k.attribute<number>(name);
  return k.graph.scalar(dtype === 'int32' ? Math.min(Math.max(value, -(2 ** 31)), 2 ** 31 - 1) : value, dtype);
}

/** Limits x to a range. The result has the type of x. */
function clip(k: KernelCall, low: (dtype: OnnxType) => Node, high: (dtype: OnnxType) => Node): Node {
  const raw = k.node('x');
  const x = numberOf(k.graph, raw);
  return k.graph.cast(k.graph.add('Clip', [x, low(x.dtype), high(x.dtype)], {}, x.shape, x.dtype), raw.dtype);
}

export const elementwise: KernelTable = {
  Abs: numeric('Abs'),
  Neg: numeric('Neg'),
  Sign: (k) => {
    const g = k.graph;
    const raw = k.node('x');
    const x = numberOf(g, raw);
    const sign = g.unary('Sign', x);
    return x.dtype === 'float32' ? where(g, g.unary('IsNaN', x, 'bool'), g.scalar(0), sign) : g.cast(sign, raw.dtype);
  },
  Acos: storedUnary('Acos'),
  Acosh: storedUnary('Acosh'),
  Asin: storedUnary('Asin'),
  Asinh: storedUnary('Asinh'),
  Atan: storedUnary('Atan'),
  Atanh: storedUnary('Atanh'),
  Cos: unary('Cos'),
  Cosh: storedUnary('Cosh'),
  Erf: unary('Erf'),
  // For integers the result is computed in float64, because ONNX Runtime's float32 exponential can be wrong in the last digit.
  Exp: (k) => (k.node('x').dtype === 'float32' ? k.graph.unary('Exp', k.node('x')) : k.graph.inDouble('Exp', k.node('x'))),
  Log: unary('Log'),
  Reciprocal: storedUnary('Reciprocal'),
  Sigmoid: (k) => sigmoid(k.graph, float(k)),
  Sin: unary('Sin'),
  Sinh: storedUnary('Sinh'),
  Sqrt: unary('Sqrt'),
  // Computed in float64. Near the poles of the tangent, float32 sines and cosines would have too few digits.
  Tan: (k) => {
    const g = k.graph;
    const x = g.cast(float(k), 'float64');
    return g.cast(g.binary('Div', g.unary('Sin', x), g.unary('Cos', x)), 'float32');
  },
  Tanh: unary('Tanh'),
  Softplus: storedUnary('Softplus'),
  Ceil: rounding('Ceil'),
  Floor: rounding('Floor'),
  Round: rounding('Round'),
  Relu: numeric('Relu'),
  Relu6: (k) =>
    clip(
      k,
      (dtype) => k.graph.scalar(0, dtype),
      (dtype) => k.graph.scalar(6, dtype),
    ),
  Elu: stored((g, x) => exponentialLinear(g, x)),
  Selu: stored((g, x) => exponentialLinear(g, x, tf.backend_util.SELU_SCALEALPHA, tf.backend_util.SELU_SCALE)),
  LeakyRelu: (k) => k.graph.unary('LeakyRelu', float(k), 'float32', { alpha: { float: k.attribute<number>('alpha') } }),
  Prelu: (k) => {
    const g = k.graph;
    const x = float(k);
    return where(g, g.binary('Less', x, g.scalar(0), 'bool'), g.binary('Mul', x, float(k, 'alpha')), x);
  },
  Rsqrt: (k) => k.graph.unary('Reciprocal', k.graph.unary('Sqrt', float(k))),
  Square: (k) => {
    const raw = k.node('x');
    const x = numberOf(k.graph, raw);
    return k.graph.cast(k.graph.binary('Mul', x, x), raw.dtype);
  },
  Expm1: stored(expm1),
  Log1p: stored(log1p),
  Step: (k) => {
    const g = k.graph;
    const raw = k.node('x');
    const x = numberOf(g, raw);
    const step = where(
      g,
      g.binary('Greater', x, g.scalar(0, x.dtype), 'bool'),
      g.scalar(1, x.dtype),
      g.scalar(k.attribute<number>('alpha'), x.dtype),
    );
    return raw.dtype === 'float32' ? where(g, g.unary('IsNaN', x, 'bool'), x, step) : g.cast(step, raw.dtype);
  },
  EluGrad: (k) => {
    const g = k.graph;
    const [dy, y] = [float(k, 'dy'), float(k, 'y')];
    return where(g, g.binary('GreaterOrEqual', y, g.scalar(0), 'bool'), dy, g.binary('Mul', dy, g.binary('Add', y, g.scalar(1))));
  },
  ClipByValue: (k) =>
    clip(
      k,
      (dtype) => bound(k, 'clipValueMin', dtype),
      (dtype) => bound(k, 'clipValueMax', dtype),
    ),
  IsNan: (k) => k.graph.unary('IsNaN', float(k), 'bool'),
  IsInf: (k) => k.graph.unary('IsInf', float(k), 'bool'),
  IsFinite: (k) => {
    const g = k.graph;
    return g.unary('Not', g.binary('Or', g.unary('IsNaN', float(k), 'bool'), g.unary('IsInf', float(k), 'bool')));
  },
  LogicalNot: (k) => k.graph.unary('Not', k.node('x')),
  Cast: (k) => {
    const to = k.attribute<string>('dtype');
    const x = k.node('x');
    if (to !== 'float32' && to !== 'int32' && to !== 'bool') throw k.refuse('dtype float32, int32 or bool', to);
    if (x.dtype === to) return { share: k.infos.x!, shape: x.shape };
    if (to === 'int32' && x.dtype === 'float32') return wholeOf(k.graph, x);
    return k.graph.cast(x, to);
  },
};
