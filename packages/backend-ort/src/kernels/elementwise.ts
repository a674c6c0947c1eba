import { broadcastShape, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';

/** Kernels that act on each element alone. */

const float = (k: KernelCall, name = 'x'): Node => k.graph.cast(k.node(name), 'float32');

/** An ONNX operator on floats. */
const unary = (op: string) => (k: KernelCall) => k.graph.unary(op, float(k));
/** An ONNX operator that also takes int32. */
const numeric = (op: string) => (k: KernelCall) => k.graph.unary(op, numberOf(k.graph, k.node('x')));
/** The identity on integers. */
const rounding = (op: string) => (k: KernelCall) => (k.node('x').dtype === 'float32' ? k.graph.unary(op, k.node('x')) : k.node('x'));

/** bool as int32, so that arithmetic takes it. */
export const numberOf = (g: Graph, x: Node): Node => (x.dtype === 'bool' ? g.cast(x, 'int32') : x);

/** Broadcasting selection. */
export const where = (g: Graph, condition: Node, a: Node, b: Node): Node => {
  const shape = broadcastShape(condition.shape, broadcastShape(a.shape, b.shape, 'Where'), 'Where');
  return g.add('Where', [condition, a, b], {}, shape, a.dtype);
};

export const elementwise: KernelTable = {
  Abs: numeric('Abs'),
  Neg: numeric('Neg'),
  Sign: (k) => {
    const g = k.graph;
    const x = numberOf(g, k.node('x'));
    const sign = g.unary('Sign', x);
    return x.dtype === 'float32' ? where(g, g.unary('IsNaN', x, 'bool'), g.scalar(0), sign) : sign;
  },
  Acos: unary('Acos'),
  Acosh: unary('Acosh'),
  Asin: unary('Asin'),
  Asinh: unary('Asinh'),
  Atan: unary('Atan'),
  Atanh: unary('Atanh'),
  Cos: unary('Cos'),
  Cosh: unary('Cosh'),
  Erf: unary('Erf'),
  // Integers are few and exact: ONNX Runtime's vectorised float32 exponential may miss by a unit in the last place.
  Exp: (k) => (k.node('x').dtype === 'float32' ? k.graph.unary('Exp', k.node('x')) : k.graph.inDouble('Exp', k.node('x'))),
  Log: unary('Log'),
  Reciprocal: unary('Reciprocal'),
  Sigmoid: unary('Sigmoid'),
  Sin: unary('Sin'),
  Sinh: unary('Sinh'),
  Sqrt: unary('Sqrt'),
  // In float64: near its poles the result has more digits than a float32 argument of the sine and the cosine.
  Tan: (k) => {
    const g = k.graph;
    const x = g.cast(float(k), 'float64');
    return g.cast(g.binary('Div', g.unary('Sin', x), g.unary('Cos', x)), 'float32');
  },
  Tanh: unary('Tanh'),
  Softplus: unary('Softplus'),
  Ceil: rounding('Ceil'),
  Floor: rounding('Floor'),
  Round: rounding('Round'),
  Relu: numeric('Relu'),
  Relu6: (k) => {
    const x = numberOf(k.graph, k.node('x'));
    return k.graph.add('Clip', [x, k.graph.scalar(0, x.dtype), k.graph.scalar(6, x.dtype)], {}, x.shape, x.dtype);
  },
  Elu: (k) => k.graph.unary('Elu', float(k), 'float32', { alpha: { float: 1 } }),
  Selu: (k) => k.graph.unary('Selu', float(k), 'float32', { alpha: { float: 1.6732632423543772 }, gamma: { float: 1.0507009873554805 } }),
  LeakyRelu: (k) => k.graph.unary('LeakyRelu', float(k), 'float32', { alpha: { float: k.attribute<number>('alpha') } }),
  Prelu: (k) => {
    const g = k.graph;
    const x = float(k);
    return where(g, g.binary('Less', x, g.scalar(0), 'bool'), g.binary('Mul', x, float(k, 'alpha')), x);
  },
  Rsqrt: (k) => k.graph.unary('Reciprocal', k.graph.unary('Sqrt', float(k))),
  Square: (k) => {
    const x = numberOf(k.graph, k.node('x'));
    return k.graph.binary('Mul', x, x);
  },
  // e^x - 1 = 2 tanh(x/2) / (1 - tanh(x/2)) keeps its digits where e^x is close to 1.
  Expm1: (k) => {
    const g = k.graph;
    const x = float(k);
    const half = g.unary('Tanh', g.binary('Mul', x, g.scalar(0.5)));
    const small = g.binary('Div', g.binary('Mul', half, g.scalar(2)), g.binary('Sub', g.scalar(1), half));
    return where(g, g.binary('Less', g.unary('Abs', x), g.scalar(1), 'bool'), small, g.binary('Sub', g.unary('Exp', x), g.scalar(1)));
  },
  // log(1 + x) = log(u) x / (u - 1) with u = 1 + x rounded (Kahan): the rounding of u cancels.
  Log1p: (k) => {
    const g = k.graph;
    const x = float(k);
    const u = g.binary('Add', x, g.scalar(1));
    const log = g.unary('Log', u);
    const corrected = g.binary('Mul', log, g.binary('Div', x, g.binary('Sub', u, g.scalar(1))));
    const exact = where(g, g.binary('Equal', u, g.scalar(1), 'bool'), x, corrected);
    return where(g, g.binary('Less', g.unary('Abs', x), g.scalar(1), 'bool'), exact, log);
  },
  Step: (k) => {
    const g = k.graph;
    const x = numberOf(g, k.node('x'));
    const step = where(
      g,
      g.binary('Greater', x, g.scalar(0, x.dtype), 'bool'),
      g.scalar(1, x.dtype),
      g.scalar(k.attribute<number>('alpha'), x.dtype),
    );
    if (x.dtype === 'int32') return step;
    return where(g, g.unary('IsNaN', x, 'bool'), x, step);
  },
  EluGrad: (k) => {
    const g = k.graph;
    const [dy, y] = [float(k, 'dy'), float(k, 'y')];
    return where(g, g.binary('GreaterOrEqual', y, g.scalar(0), 'bool'), dy, g.binary('Mul', dy, g.binary('Add', y, g.scalar(1))));
  },
  ClipByValue: (k) => {
    const x = numberOf(k.graph, k.node('x'));
    const bound = (name: string): Node => k.graph.scalar(k.attribute<number>(name), x.dtype);
    return k.graph.add('Clip', [x, bound('clipValueMin'), bound('clipValueMax')], {}, x.shape, x.dtype);
  },
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
    if (to === 'int32' && x.dtype === 'float32') {
      // As an Int32Array takes it: NaN and the infinities become 0.
      const g = k.graph;
      const finite = g.unary('Not', g.binary('Or', g.unary('IsNaN', x, 'bool'), g.unary('IsInf', x, 'bool')));
      return g.cast(where(g, finite, x, g.scalar(0)), 'int32');
    }
    return k.graph.cast(x, to);
  },
};
