import { tf, type Tensor } from '@atelier/tensor';

/**
 * A function of one tensor with its derivative in closed form: `pullback(dy, x)` = Jᵀ·dy, linear in dy and written in differentiable
 * operations, so that `jvp` can transpose it and a second derivative is exact.
 *
 * Only `x` is kept for the backward pass. What the pullback computes again from it costs nothing on an engine that makes equal nodes once.
 */
export function closedForm(x: Tensor, value: (x: Tensor) => Tensor, pullback: (dy: Tensor, x: Tensor) => Tensor): Tensor {
  return tf.customGrad((input, save) => {
    (save as (tensors: Tensor[]) => void)([input as Tensor]);
    return { value: value(input as Tensor), gradFunc: (dy: Tensor, [kept]: Tensor[]) => pullback(dy, kept!) };
  })(x);
}

/** Sum over the last axis, which stays with size 1. Unlike `tf.sum`, its derivative multiplies by no tensor of ones. */
export function sumLast(x: Tensor): Tensor {
  const size = x.shape.at(-1)!;
  return tf.customGrad((input) => ({ value: tf.sum(input as Tensor, -1, true), gradFunc: (dy: Tensor) => spreadLast(dy, size) }))(x);
}

/** Repeats a last axis of size 1, the transpose of `sumLast`. */
export function spreadLast(x: Tensor, size: number): Tensor {
  const shape = [...x.shape.slice(0, -1), size];
  return tf.customGrad((input) => ({ value: tf.broadcastTo(input as Tensor, shape), gradFunc: (dy: Tensor) => sumLast(dy) }))(x);
}
