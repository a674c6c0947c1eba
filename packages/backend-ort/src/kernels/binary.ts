import { broadcastShape, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import type { OnnxType } from '../onnx.ts';
import { numberOf, storedAs, where } from './elementwise.ts';

/** Kernels for pairs of elements, with broadcasting. */

/** Both operands in their common type (bool becomes int32), and the type of the result. */
function pair(k: KernelCall): { a: Node; b: Node; dtype: OnnxType } {
  const g = k.graph;
  const [x, y] = [k.node('a'), k.node('b')];
  const dtype = commonType(x, y);
  const wide = dtype === 'bool' ? 'int32' : dtype;
  return { a: g.cast(x, wide), b: g.cast(y, wide), dtype };
}

/** float32 if one of them is float32, else int32 if one is int32, else bool. */
export const commonType = (...xs: readonly Node[]): OnnxType => WIDEST_FIRST.find((dtype) => xs.some((x) => x.dtype === dtype))!;
const WIDEST_FIRST = ['float32', 'int32', 'bool'] as const;

const arithmetic = (op: string) => (k: KernelCall) => {
  const { a, b, dtype } = pair(k);
  return k.graph.cast(k.graph.binary(op, a, b), dtype);
};

/** The int32 tensor from which a float32 tensor was made, if it was made from one: float32 cannot hold every int32. */
function beforeCast(x: Node): Node {
  const spread = x.op === 'Expand' ? x.inputs[0]! : x;
  const source = spread.op === 'Cast' && spread.dtype === 'float32' ? spread.inputs[0]! : null;
  return source?.dtype === 'int32' ? source : x;
}

/** Comparisons are exact for every pair of types: an int32 and a float32 are compared in float64. */
const comparison = (op: string) => (k: KernelCall) => {
  const g = k.graph;
  const { a, b } = pair(k);
  const [x, y] = [beforeCast(a), beforeCast(b)];
  const result = x.dtype === y.dtype ? g.binary(op, x, y, 'bool') : g.binary(op, g.cast(x, 'float64'), g.cast(y, 'float64'), 'bool');
  // If an operand was cast and then expanded, the comparison used the values before that. So the result is expanded here.
  return g.expand(result, broadcastShape(a.shape, b.shape, op));
};

const logical = (op: string) => (k: KernelCall) => {
  const [a, b] = [k.graph.cast(k.node('a'), 'bool'), k.graph.cast(k.node('b'), 'bool')];
  return k.graph.binary(op, a, b, 'bool');
};

/**
 * Computes in float64. It holds every int32, and it is exact enough for `Floor` of every quotient. ONNX Runtime's integer division would
 * end the process for a divisor of 0 and for -2³¹ / -1.
 */
const inDouble = (f: (g: Graph, a: Node, b: Node) => Node, to?: OnnxType) => (k: KernelCall) => {
  const g = k.graph;
  const { a, b, dtype } = pair(k);
  const wide = (x: Node): Node => g.expand(g.cast(beforeCast(x), 'float64'), x.shape);
  return storedAs(g, f(g, wide(a), wide(b)), to ?? dtype);
};

/** The remainder with the sign of the divisor. */
function modulo(g: Graph, a: Node, b: Node): Node {
  const zero = g.cast(g.scalar(0), 'float64');
  const both = (op: string): Node => g.binary('And', g.binary(op, a, zero, 'bool'), g.binary(op, b, zero, 'bool'));
  const rest = (x: Node): Node => g.binary('Mod', x, b, 'float64', { fmod: 1 });
  const remainder = rest(a);
  return where(g, g.binary('Or', both('Less'), both('GreaterOrEqual')), remainder, rest(g.binary('Add', remainder, b)));
}

/**
 * The angle of the point (x, y). It is the angle of (|x|, |y|), mirrored according to the signs of x and y. Zeros have signs too (IEEE
 * 754).
 */
function angle(k: KernelCall): Node {
  const g = k.graph;
  const { a, b, dtype } = pair(k);
  const [y, x] = [g.cast(a, 'float32'), g.cast(b, 'float32')];
  /** Compares v and 1/v with 0: 1/v has the sign of a zero. */
  const beside = (v: Node, op: string, join: string): Node =>
    g.binary(join, g.binary(op, v, g.scalar(0), 'bool'), g.binary(op, g.unary('Reciprocal', v), g.scalar(0), 'bool'));
  const isNegative = (v: Node): Node => beside(v, 'Less', 'Or');
  const isPositive = (v: Node): Node => beside(v, 'GreaterOrEqual', 'And');
  const [height, width] = [g.unary('Abs', y), g.unary('Abs', x)];
  const isBoth = (value: number): Node =>
    g.binary('And', g.binary('Equal', height, g.scalar(value), 'bool'), g.binary('Equal', width, g.scalar(value), 'bool'));
  const ratio = where(g, isBoth(0), g.scalar(0), where(g, isBoth(Infinity), g.scalar(1), g.binary('Div', height, width)));
  const acute = g.unary('Atan', ratio);
  const upper = where(g, isNegative(x), g.binary('Sub', g.scalar(Math.PI), acute), acute);
  return storedAs(g, where(g, isPositive(y), upper, g.unary('Neg', upper)), dtype);
}

export const binary: KernelTable = {
  Add: arithmetic('Add'),
  Sub: arithmetic('Sub'),
  Multiply: arithmetic('Mul'),
  RealDiv: (k) => (pair(k).dtype === 'float32' ? arithmetic('Div')(k) : inDouble((g, a, b) => g.binary('Div', a, b))(k)),
  FloorDiv: inDouble((g, a, b) => g.unary('Floor', g.binary('Div', a, b)), 'int32'),
  Mod: inDouble(modulo),
  Atan2: angle,
  Pow: (k) => (pair(k).dtype === 'float32' ? arithmetic('Pow')(k) : inDouble((g, a, b) => g.binary('Pow', a, b))(k)),
  Maximum: arithmetic('Max'),
  Minimum: arithmetic('Min'),
  SquaredDifference: (k) => {
    const { a, b, dtype } = pair(k);
    const d = k.graph.binary('Sub', a, b);
    return k.graph.cast(k.graph.binary('Mul', d, d), dtype);
  },
  Equal: comparison('Equal'),
  NotEqual: (k) => k.graph.unary('Not', comparison('Equal')(k)),
  Greater: comparison('Greater'),
  GreaterEqual: comparison('GreaterOrEqual'),
  Less: comparison('Less'),
  LessEqual: comparison('LessOrEqual'),
  BitwiseAnd: (k) => k.graph.binary('BitwiseAnd', k.graph.cast(k.node('a'), 'int32'), k.graph.cast(k.node('b'), 'int32')),
  LogicalAnd: logical('And'),
  LogicalOr: logical('Or'),
  LogicalXor: logical('Xor'),
  AddN: (k) => {
    const xs = k.list();
    const sum = xs.map((x) => numberOf(k.graph, x)).reduce((a, b) => k.graph.binary('Add', a, b));
    return k.graph.cast(sum, xs[0]!.dtype);
  },
};
