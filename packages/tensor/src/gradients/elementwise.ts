import { tf, type Tensor } from '../tfjs.ts';
import { gradient, type Gradient } from './gradient.ts';
import { sumTo } from './sum-to.ts';

const float = (x: Tensor): Tensor => tf.cast(x, 'float32');
const half = 0.5;

/**
 * dy times 1 where the operand is chosen, ½ where both operands are equal, and 0 elsewhere, summed to the shape of `of`. `more` is true
 * where the operand is the better one; `atLeast` is true also where both are equal.
 */
const chosen = (dy: Tensor, more: Tensor, atLeast: Tensor, of: Tensor): Tensor =>
  sumTo(tf.mul(dy, tf.mul(tf.add(float(more), float(atLeast)), half)), of.shape);

/**
 * Derivatives of functions of two tensors with broadcasting, and of functions of one tensor for which TensorFlow.js's derivative is wrong
 * or overflows too early.
 */
export const elementwise = (): Gradient[] => [
  // If both operands are equal, each gets half of the derivative. This is the mean of the two one-sided derivatives.
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
  // -dy·a/b², computed by two divisions, because b² leaves the range of float32 long before the quotient does.
  gradient('RealDiv', ['a', 'b'], (dy, [a, b]) => ({
    a: () => sumTo(tf.div(dy, float(b!)), a!.shape),
    b: () => sumTo(tf.neg(tf.mul(tf.div(dy, float(b!)), tf.div(float(a!), float(b!)))), b!.shape),
  })),
  gradient('Reciprocal', ['x'], (dy, [x]) => ({ x: () => tf.neg(tf.div(tf.div(dy, x!), x!)) })),
  gradient('Rsqrt', ['x'], (dy, [x]) => ({ x: () => tf.mul(tf.div(tf.mul(dy, tf.rsqrt(x!)), x!), -half) })),
  // By a: b·a^(b-1), and 0 for b = 0, also if a = 0. By b: a^b·log a for a > 0, and 0 elsewhere, because log a is not real there.
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
  // A rounded quotient is constant between its jumps, so its derivative is 0. TensorFlow.js returns the derivative of the quotient.
  gradient('FloorDiv', ['a', 'b'], (_, [a, b]) => ({ a: () => tf.zeros(a!.shape), b: () => tf.zeros(b!.shape) })),
  gradient('Prelu', ['x', 'alpha'], (dy, [x, alpha]) => ({
    x: () => sumTo(tf.where(tf.greater(x!, 0), dy, tf.mul(dy, alpha!)), x!.shape),
    alpha: () => sumTo(tf.where(tf.greater(x!, 0), 0, tf.mul(dy, x!)), alpha!.shape),
  })),
  // For x < 0, e^x = y + 1. TensorFlow.js uses a separate kernel here, which has no derivative.
  gradient('Elu', ['x'], (dy, [x, y]) => ({ x: () => tf.where(tf.greater(x!, 0), dy, tf.mul(dy, tf.add(y!, 1))) }), { output: true }),
  // The branch that was not chosen gets 0, even if dy is not finite.
  gradient('Select', ['condition'], (dy, [condition]) => ({
    condition: () => tf.zeros(condition!.shape),
    t: () => tf.where(condition!, dy, 0),
    e: () => tf.where(condition!, 0, dy),
  })),
  // The derivative of a cast to integer or bool is 0. TensorFlow.js returns dy.
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

/**
 * Kernels with a piecewise constant result. In TensorFlow.js all except `GreaterEqual` have no derivative, and a gradient through them
 * throws.
 */
export const piecewiseConstant = (): Gradient[] => [
  ...['Equal', 'NotEqual', 'Greater', 'Less', 'LessEqual', 'GreaterEqual', 'LogicalAnd', 'LogicalOr'].map((kernel) =>
    gradient(kernel, ['a', 'b'], (_, [a, b]) => ({ a: () => tf.zeros(a!.shape), b: () => tf.zeros(b!.shape) })),
  ),
  ...['LogicalNot', 'All', 'Any', 'ArgMax', 'ArgMin'].map((kernel) =>
    gradient(kernel, ['x'], (_, [x]) => ({ x: () => tf.zeros(x!.shape) })),
  ),
];
