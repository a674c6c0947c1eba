import * as tf from '@tensorflow/tfjs';

type Parts = {
  /** The largest element of each row, with the summed axes kept at size 1. */
  top: tf.Tensor;
  /** Whether it is finite. */
  isFinite: tf.Tensor;
  /** The number subtracted before the exponential: `top` if it is finite, else 0. */
  shift: tf.Tensor;
  powers: tf.Tensor;
};

function partsOf(x: tf.Tensor, axes: number[]): Parts {
  const top = tf.max(x, axes, true);
  const isFinite = tf.isFinite(top);
  const shift = tf.where(isFinite, top, tf.zerosLike(top));
  return { top, isFinite, shift, powers: tf.exp(tf.sub(x, shift)) };
}

/** The derivative, softmax(x). If the largest elements are infinite, they get equal shares, which is the limit. */
function shares(x: tf.Tensor, axes: number[]): tf.Tensor {
  const { top, isFinite, powers } = partsOf(x, axes);
  const weights = tf.where(isFinite, powers, tf.cast(tf.equal(x, top), 'float32'));
  return tf.div(weights, tf.sum(weights, axes, true));
}

/**
 * `tf.logSumExp` with correct values for infinities: log Σ eˣ over `axis` (one, several, or all), any shape, float32. TensorFlow.js
 * subtracts the largest element even if it is infinite, and ∞ - ∞ is NaN. Here a row of -∞ gives -∞, and a row with ∞ gives ∞.
 */
export function logSumExp<T extends tf.Tensor>(
  given: tf.Tensor | tf.TensorLike,
  axis: number | number[] | null = null,
  keepDims = false,
): T {
  return tf.tidy(() => {
    const input = tf.cast(given instanceof tf.Tensor ? given : tf.tensor(given), 'float32');
    const axes = tf.util.parseAxisParam(axis ?? input.shape.map((_, i) => i), input.shape);
    const kept = input.shape.map((size, i) => (axes.includes(i) ? 1 : size));
    const shape = keepDims ? kept : input.shape.filter((_, i) => !axes.includes(i));
    // `customGradient` cannot be used here: it imports the namespace that this function is part of.
    const custom = tf.customGrad((...args) => {
      const [x, save] = args as unknown as [tf.Tensor, (tensors: tf.Tensor[]) => void];
      save([x]);
      const { powers, shift } = partsOf(x, axes);
      return {
        value: tf.reshape(tf.add(tf.log(tf.sum(powers, axes, true)), shift), shape),
        gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.mul(tf.reshape(dy, kept), shares(saved[0]!, axes)),
      };
    });
    return custom(input) as T;
  });
}

// The method `x.logSumExp()`.
tf.Tensor.prototype.logSumExp = function <T extends tf.Tensor>(this: tf.Tensor, axis?: number | number[], keepDims?: boolean): T {
  return logSumExp<T>(this, axis, keepDims);
};
