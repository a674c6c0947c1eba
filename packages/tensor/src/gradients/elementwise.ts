import { tf, type Tensor } from '../tfjs.ts';
import { gradient, type Gradient } from './gradient.ts';
import { sumTo } from './sum-to.ts';

const float = (x: Tensor): Tensor => tf.cast(x, 'float32');
const half = 0.5;

/** 1 where `a` is chosen, ½ where both are equal and 0 elsewhere, times dy, in the shape of `of`. */
const chosen = (dy: Tensor, more: Tensor, atLeast: Tensor, of: Tensor): Tensor =>
  sumTo(tf.mul(dy, tf.mul(tf.add(float(more), float(atLeast)), half)), of.shape);

/** Functions of two tensors with broadcasting, and functions of one tensor for which TensorFlow.js's own derivative is wrong or loses range. */
export const elementwise = (): Gradient[] => [
  // For ties both operands get half of the derivative: the mean of the two one-sided derivatives.
  gradient('Maximum', ['a', 'b'], (dy, [a, b]) => ({
    a: () => chosen(dy, tf.greater(a!, b!), tf.greaterEqual(a!, b!), a!),
    b: () => chosen(dy, tf.greater(b!, a!), tf.greaterEqual(b!, a!), b!),
  })),
  gradient('Minimum', ['a', 'b'], (dy, [a, b]) => ({
    a: () => chosen(dy, tf.less(a!, b!), tf.lessEqual(a!, b!), a!),
    b: () => chosen(dy, tf.less(b!, a!), tf.lessEqual(b!, a!), b!),
  })),
  gradient('SquaredDifference', ['a', 'b'], (dy, [a, b]) => ({
    a: () => sumTo(tf.mul(dy, tf.mul(tf.sub(float(a!), float(b!)), 2)), a!.shape),
    b: () => sumTo(tf.mul(dy, tf.mul(tf.sub(float(b!), float(a!)), 2)), b!.shape),
  })),
  // -dy·a/b², computed by two divisions: b² would leave the range of float32 long before the quotient does.
  gradient('RealDiv', ['a', 'b'], (dy, [a, b]) => ({
    a: () => sumTo(tf.div(dy, float(b!)), a!.shape),
    b: () => sumTo(tf.neg(tf.mul(tf.div(dy, float(b!)), tf.div(float(a!), float(b!)))), b!.shape),
  })),
  gradient('Reciprocal', ['x'], (dy, [x]) => ({ x: () => tf.neg(tf.div(tf.div(dy, x!), x!)) })),
  gradient('Rsqrt', ['x'], (dy, [x]) => ({ x: () => tf.mul(tf.div(tf.mul(dy, tf.rsqrt(x!)), x!), -half) })),
  // b·a^(b-1), 0 where b = 0 also at a = 0; by the exponent a^b·log a where a > 0, and 0 elsewhere, where a real one does not exist.
  gradient(
    'Pow',
    ['a', 'b'],
    (dy, [a, b, y]) => ({
      a: () => {
        const exponent = float(b!);
        const slope = tf.mul(exponent, tf.pow(float(a!), tf.sub(exponent, 1)));
        return sumTo(tf.mul(dy, tf.where(tf.equal(exponent, 0), 0, slope)), a!.shape);
      },
      b: () => sumTo(tf.mul(dy, tf.where(tf.greater(a!, 0), tf.mul(y!, tf.log(float(a!))), 0)), b!.shape),
    }),
    { output: true },
  ),
  // The rounded-down quotient is constant between jumps, so its derivative is 0. TensorFlow.js gives the derivative of the quotient.
  gradient('FloorDiv', ['a', 'b'], (_, [a, b]) => ({ a: () => tf.zeros(a!.shape), b: () => tf.zeros(b!.shape) })),
  gradient('Prelu', ['x', 'alpha'], (dy, [x, alpha]) => ({
    x: () => sumTo(tf.where(tf.greater(x!, 0), dy, tf.mul(dy, alpha!)), x!.shape),
    alpha: () => sumTo(tf.where(tf.greater(x!, 0), 0, tf.mul(dy, x!)), alpha!.shape),
  })),
  // e^x = y + 1 below 0. TensorFlow.js runs a kernel of its own here, which nothing can differentiate.
  gradient('Elu', ['x'], (dy, [x, y]) => ({ x: () => tf.where(tf.greater(x!, 0), dy, tf.mul(dy, tf.add(y!, 1))) }), { output: true }),
  // A branch that was not chosen gets 0, even if dy is not finite.
  gradient('Select', ['condition'], (dy, [condition]) => ({
    condition: () => tf.zeros(condition!.shape),
    t: () => tf.where(condition!, dy, 0),
    e: () => tf.where(condition!, 0, dy),
  })),
  // An integer or bool result has the derivative 0; TensorFlow.js passes dy through.
  {
    kernelName: 'Cast',
    gradFunc: (dy, _, attributes) => ({
      x: () =>
        ['float32', 'complex64'].includes((attributes as unknown as { dtype: string }).dtype)
          ? (dy as Tensor).clone()
          : tf.zeros((dy as Tensor).shape),
    }),
  },
];

/** Kernels whose result is constant wherever it is continuous; all but `GreaterEqual` have no derivative in TensorFlow.js and stop a gradient. */
export const piecewiseConstant = (): Gradient[] => [
  ...['Equal', 'NotEqual', 'Greater', 'Less', 'LessEqual', 'GreaterEqual', 'LogicalAnd', 'LogicalOr'].map((kernel) =>
    gradient(kernel, ['a', 'b'], (_, [a, b]) => ({ a: () => tf.zeros(a!.shape), b: () => tf.zeros(b!.shape) })),
  ),
  ...['LogicalNot', 'All', 'Any', 'ArgMax', 'ArgMin'].map((kernel) =>
    gradient(kernel, ['x'], (_, [x]) => ({ x: () => tf.zeros(x!.shape) })),
  ),
];
