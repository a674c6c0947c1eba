import type { Graph, Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { numberOf, where } from './elementwise.ts';

/** Kernels on pairs of elements, with broadcasting. */

/** Both operands in their common type: float32 if either is, else int32. */
function pair(k: KernelCall): [Node, Node] {
  const g = k.graph;
  const [a, b] = [numberOf(g, k.node('a')), numberOf(g, k.node('b'))];
  const dtype = a.dtype === 'float32' || b.dtype === 'float32' ? 'float32' : 'int32';
  return [g.cast(a, dtype), g.cast(b, dtype)];
}

const arithmetic = (op: string) => (k: KernelCall) => k.graph.binary(op, ...pair(k));
const comparison = (op: string) => (k: KernelCall) => k.graph.binary(op, ...pair(k), 'bool');
const logical = (op: string) => (k: KernelCall) => {
  const [a, b] = [k.graph.cast(k.node('a'), 'bool'), k.graph.cast(k.node('b'), 'bool')];
  return k.graph.binary(op, a, b, 'bool');
};

/** Whether a remainder has to move by one divisor so that it takes the divisor's sign. */
const offSign = (g: Graph, remainder: Node, divisor: Node): Node => {
  const zero = g.scalar(0, remainder.dtype);
  const negative = (x: Node): Node => g.binary('Less', x, zero, 'bool');
  const nonzero = g.unary('Not', g.binary('Equal', remainder, zero, 'bool'));
  return g.binary('And', nonzero, g.binary('Xor', negative(remainder), negative(divisor)));
};

/** An integer divisor with 1 in place of 0, which would stop the process. */
const safeDivisor = (g: Graph, b: Node): Node => where(g, g.binary('Equal', b, g.scalar(0, b.dtype), 'bool'), g.scalar(1, b.dtype), b);

function floorDivide(k: KernelCall): Node {
  const g = k.graph;
  const [a, b] = pair(k);
  if (a.dtype === 'float32') return g.unary('Floor', g.binary('Div', a, b));
  const divisor = safeDivisor(g, b);
  const quotient = g.binary('Div', a, divisor);
  const remainder = g.binary('Sub', a, g.binary('Mul', quotient, divisor));
  const floored = where(g, offSign(g, remainder, divisor), g.binary('Sub', quotient, g.scalar(1, 'int32')), quotient);
  return where(g, g.binary('Equal', b, g.scalar(0, 'int32'), 'bool'), g.scalar(0, 'int32'), floored);
}

function modulo(k: KernelCall): Node {
  const g = k.graph;
  const [a, b] = pair(k);
  if (a.dtype === 'int32') {
    const result = g.binary('Mod', a, safeDivisor(g, b));
    return where(g, g.binary('Equal', b, g.scalar(0, 'int32'), 'bool'), g.scalar(0, 'int32'), result);
  }
  const remainder = g.binary('Mod', a, b, 'float32', { fmod: 1 });
  return where(g, offSign(g, remainder, b), g.binary('Add', remainder, b), remainder);
}

/** The angle of (x, y) from the half-plane that `atan` gives, turned by ±π for x < 0. */
function angle(k: KernelCall): Node {
  const g = k.graph;
  const [y, x] = pair(k).map((v) => g.cast(v, 'float32')) as [Node, Node];
  const zero = g.scalar(0);
  const isZero = (v: Node): Node => g.binary('Equal', v, zero, 'bool');
  const isNegative = (v: Node): Node => g.binary('Less', v, zero, 'bool');
  const base = g.unary('Atan', g.binary('Div', y, x));
  const turn = where(g, isNegative(y), g.scalar(-Math.PI), g.scalar(Math.PI));
  const turned = where(g, isNegative(x), g.binary('Add', base, turn), base);
  const upright = where(g, isNegative(y), g.scalar(-Math.PI / 2), g.scalar(Math.PI / 2));
  const onAxis = where(g, isZero(y), zero, upright);
  return where(g, isZero(x), onAxis, turned);
}

export const binary: KernelTable = {
  Add: arithmetic('Add'),
  Sub: arithmetic('Sub'),
  Multiply: arithmetic('Mul'),
  RealDiv: (k) => {
    const [a, b] = pair(k);
    return k.graph.binary('Div', k.graph.cast(a, 'float32'), k.graph.cast(b, 'float32'));
  },
  FloorDiv: floorDivide,
  Mod: modulo,
  Atan2: angle,
  Pow: arithmetic('Pow'),
  Maximum: arithmetic('Max'),
  Minimum: arithmetic('Min'),
  SquaredDifference: (k) => {
    const d = k.graph.binary('Sub', ...pair(k));
    return k.graph.binary('Mul', d, d);
  },
  Equal: comparison('Equal'),
  NotEqual: (k) => k.graph.unary('Not', k.graph.binary('Equal', ...pair(k), 'bool')),
  Greater: comparison('Greater'),
  GreaterEqual: comparison('GreaterOrEqual'),
  Less: comparison('Less'),
  LessEqual: comparison('LessOrEqual'),
  BitwiseAnd: (k) => k.graph.binary('BitwiseAnd', k.graph.cast(k.node('a'), 'int32'), k.graph.cast(k.node('b'), 'int32')),
  LogicalAnd: logical('And'),
  LogicalOr: logical('Or'),
  LogicalXor: logical('Xor'),
  AddN: (k) => k.list().reduce((a, b) => k.graph.binary('Add', a, b)),
};
