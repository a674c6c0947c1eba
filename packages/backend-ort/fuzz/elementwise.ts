import { tf } from '../src/tf.ts';
import { operators, type Operator } from './operator.ts';
import type { Pool, Tensor } from './pool.ts';

const unary = (f: (x: Tensor) => Tensor) => (p: Pool) => f(p.any());
const float = (f: (x: Tensor) => Tensor) => (p: Pool) => f(p.float());
/** Inside of the domain of the function, or of the range of the result. */
const within = (low: number, high: number, f: (x: Tensor) => Tensor) => (p: Pool) => f(tf.clipByValue(p.float(), low, high));
const binary = (f: (a: Tensor, b: Tensor) => Tensor) => (p: Pool) => {
  const a = p.any();
  const b = p.beside(a);
  return p.flag() ? f(a, b) : f(b, a);
};
const small = (f: (a: Tensor, b: Tensor) => Tensor) => (p: Pool) => {
  const a = p.small();
  const [x, y] = [a, p.beside(a)];
  return f(x, y.dtype === 'int32' ? tf.mod(y, tf.scalar(5, 'int32')) : y);
};
/** A bool that comes out of bool arithmetic on `cpu` may be any number there. */
const unlikeBools = (f: (a: Tensor, b: Tensor) => Tensor) => (p: Pool) => {
  const a = p.number();
  return f(a, p.beside(a));
};
const scalar = (f: (x: Tensor, c: number) => Tensor) => (p: Pool) => f(p.float(), p.of([0, 1, -1, 0.5, -2, 3, 1e-3, 10]));

export const elementwise: Operator[] = [
  ...operators('near')({
    abs: unary(tf.abs),
    neg: unary(tf.neg),
    sin: within(-50, 50, tf.sin),
    cos: within(-50, 50, tf.cos),
    tan: within(-1.5, 1.5, tf.tan),
    asin: within(-1, 1, tf.asin),
    acos: within(-1, 1, tf.acos),
    atan: float(tf.atan),
    sinh: within(-5, 5, tf.sinh),
    cosh: within(-5, 5, tf.cosh),
    asinh: within(-50, 50, tf.asinh),
    acosh: within(1.01, 50, tf.acosh),
    atanh: within(-0.9, 0.9, tf.atanh),
    tanh: float(tf.tanh),
    exp: within(-20, 5, tf.exp),
    'exp of anything': float(tf.exp),
    expm1: within(-20, 5, tf.expm1),
    log: within(1e-3, 1e3, tf.log),
    'log of anything': float(tf.log),
    log1p: within(-0.9, 1e3, tf.log1p),
    sigmoid: float(tf.sigmoid),
    softplus: within(-20, 50, tf.softplus),
    sqrt: within(0.01, 1e4, tf.sqrt),
    rsqrt: within(0.01, 1e4, tf.rsqrt),
    'rsqrt of anything': float(tf.rsqrt),
    square: (p) => tf.square(p.small()),
    reciprocal: (p) => tf.reciprocal(p.float()),
    relu: unary(tf.relu),
    relu6: unary(tf.relu6),
  }),
  // `cpu` subtracts 1 from an exponential.
  ...operators('cancelled')({
    elu: within(-20, 50, tf.elu),
    selu: within(-20, 50, tf.selu),
  }),
  ...operators('near')({
    leakyRelu: (p) => tf.leakyRelu(p.float(), p.of([0.1, 0.2, 0.5])),
    prelu: (p) => {
      const x = p.float((y) => y.rank > 0);
      return tf.prelu(x, p.fixed([x.shape[x.rank - 1]!]));
    },
    clip: (p) => tf.clipByValue(p.number(), p.between(-3, 0), p.between(1, 4)),
    add: binary(tf.add),
    sub: binary(tf.sub),
    mul: small(tf.mul),
    div: unlikeBools((a, b) => tf.div(a, b)),
    'div by at least 1': unlikeBools((a, b) => tf.div(tf.cast(a, 'float32'), tf.add(tf.abs(tf.cast(b, 'float32')), 1))),
    pow: (p) => {
      const x = tf.clipByValue(p.float(), 0.1, 5);
      return tf.pow(x, tf.clipByValue(tf.cast(p.beside(x), 'float32'), -3, 3));
    },
    'whole power': (p) => tf.pow(p.float(), tf.scalar(p.between(0, 3), 'int32')),
    atan2: unlikeBools((a, b) => tf.atan2(tf.cast(a, 'float32'), tf.add(tf.square(tf.cast(b, 'float32')), 0.5))),
    'factor of a scalar': scalar((x, c) => tf.mul(x, c)),
    'sum with a scalar': scalar((x, c) => tf.add(c, x)),
    'quotient by a scalar': (p) => tf.div(p.float(), p.of([2, -3, 0.5, 7])),
    addN: (p) => {
      const a = p.number();
      const b = p.any((x) => x.dtype === a.dtype && x.shape.join() === a.shape.join());
      return tf.addN([a, b, a]);
    },
    step: (p) => tf.step(p.number(), p.of([0, 2])),
    'tame again': (p) => tf.tanh(tf.mul(p.float(), 0.1)),
    'mean of squares': (p) => tf.div(tf.square(tf.clipByValue(p.float(), -5, 5)), 3),
  }),
  // Of broadcast or equal operands TensorFlow.js's own gradients are wrong.
  ...operators(
    'near',
    false,
  )({
    maximum: binary(tf.maximum),
    minimum: binary(tf.minimum),
    squaredDifference: small(tf.squaredDifference),
    mod: (p) => {
      const a = p.number();
      return tf.mod(a, p.beside(a));
    },
    floorDiv: unlikeBools(tf.floorDiv),
    divNoNan: unlikeBools(tf.divNoNan),
    'pow of anything': (p) => {
      const x = p.float();
      return tf.pow(x, tf.cast(p.beside(x), 'float32'));
    },
    'atan2 of anything': unlikeBools((a, b) => tf.atan2(tf.cast(a, 'float32'), tf.cast(b, 'float32'))),
  }),
  // Both engines approximate it, `cpu` with an absolute error of 1.5e-7.
  ...operators('cancelled')({ erf: (p) => tf.erf(p.number()) }),
  // TensorFlow.js passes gradients on through casts to bool and int32.
  ...operators('moved', false)({ cast: (p) => tf.cast(p.any(), p.of(['float32', 'int32', 'bool'] as const)) }),
  ...operators('moved')({
    floor: float(tf.floor),
    ceil: float(tf.ceil),
    round: float(tf.round),
    sign: unary(tf.sign),
    zerosLike: unary(tf.zerosLike),
    onesLike: unary(tf.onesLike),
    clone: unary(tf.clone),
  }),
  ...operators(
    'moved',
    false,
  )({
    isNaN: float(tf.isNaN),
    isInf: float(tf.isInf),
    isFinite: float(tf.isFinite),
    equal: binary(tf.equal),
    notEqual: binary(tf.notEqual),
    greater: binary(tf.greater),
    greaterEqual: binary(tf.greaterEqual),
    less: binary(tf.less),
    lessEqual: binary(tf.lessEqual),
    logicalAnd: (p) =>
      tf.logicalAnd(
        p.bool(),
        p.any((x) => x.dtype === 'bool' && x.size === 1),
      ),
    logicalOr: (p) => {
      const a = p.bool();
      return tf.logicalOr(a, tf.cast(p.beside(a), 'bool'));
    },
    logicalXor: (p) => {
      const a = p.bool();
      return tf.logicalXor(a, tf.cast(p.beside(a), 'bool'));
    },
    logicalNot: (p) => tf.logicalNot(p.bool()),
    bitwiseAnd: (p) => {
      const a = tf.cast(p.number(), 'int32');
      return tf.bitwiseAnd(a, tf.reverse(a));
    },
  }),
];
