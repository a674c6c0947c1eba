import type * as tfModule from '@tensorflow/tfjs';

type TensorFlow = typeof tfModule;
type Tensor = tfModule.Tensor;

/**
 * `tf.logSumExp` as it should be at infinities: log Σ eˣ over `axis` (one, several, or all), any shape, float32. TensorFlow.js subtracts the
 * largest element also where it is infinite, and ∞ - ∞ is NaN. Here a row of -∞ gives -∞, and a row with ∞ gives ∞.
 *
 * The gradient is softmax(x); where the largest element is infinite, equal shares of those that are as large, which is its limit.
 */
export function logSumExpOf(tf: TensorFlow): TensorFlow['logSumExp'] {
  const rowsOf = (x: Tensor, axes: number[]): { top: Tensor; powers: Tensor; shift: Tensor; isFinite: Tensor } => {
    const top = tf.max(x, axes, true);
    const isFinite = tf.isFinite(top);
    const shift = tf.where(isFinite, top, tf.zerosLike(top));
    return { top, isFinite, shift, powers: tf.exp(tf.sub(x, shift)) };
  };
  const shares = (x: Tensor, axes: number[]): Tensor => {
    const { top, isFinite, powers } = rowsOf(x, axes);
    const weights = tf.where(isFinite, powers, tf.cast(tf.equal(x, top), 'float32'));
    return tf.div(weights, tf.sum(weights, axes, true));
  };
  const logSumExp = (given: Tensor | tfModule.TensorLike, axis: number | number[] | null = null, keepDims = false): Tensor => {
    const input = tf.cast(given instanceof tf.Tensor ? given : tf.tensor(given), 'float32');
    const axes = tf.util.parseAxisParam(axis ?? input.shape.map((_, i) => i), input.shape);
    const kept = input.shape.map((size, i) => (axes.includes(i) ? 1 : size));
    const shape = keepDims ? kept : input.shape.filter((_, i) => !axes.includes(i));
    const custom = tf.customGrad((...args) => {
      const [x, save] = args as unknown as [Tensor, (tensors: Tensor[]) => void];
      save([x]);
      const { powers, shift } = rowsOf(x, axes);
      return {
        value: tf.reshape(tf.add(tf.log(tf.sum(powers, axes, true)), shift), shape),
        gradFunc: ((dy: Tensor, [saved]: [Tensor]) => tf.mul(tf.reshape(dy, kept), shares(saved, axes))) as never,
      };
    });
    return custom(input);
  };
  return ((...args) => tf.tidy(() => logSumExp(...(args as Parameters<typeof logSumExp>)))) as TensorFlow['logSumExp'];
}
