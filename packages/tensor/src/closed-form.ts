import { customGradient } from './custom-gradient.ts';
import { tf, type Tensor } from './tf.ts';

/**
 * A function of one tensor with a derivative that is given as a formula: `pullback(dy, x)` = Jᵀ·dy. The pullback must be linear in dy and
 * use differentiable operations. Then `jvp` can transpose it, and second derivatives are exact.
 *
 * Only `x` is kept for the backward pass. The pullback may compute values of the forward pass again: on an engine that shares equal nodes,
 * they are computed only once.
 */
export function closedForm(x: Tensor, value: (x: Tensor) => Tensor, pullback: (dy: Tensor, x: Tensor) => Tensor): Tensor {
  return customGradient([x], (input) => ({ value: value(input), kept: [input], pullback: (dy, kept) => [pullback(dy, kept)] }));
}

/** Sum over the last axis, which is kept with size 1. The derivative of `tf.sum` multiplies by a tensor of ones; this one does not. */
export function sumLast(x: Tensor): Tensor {
  const size = x.shape.at(-1)!;
  return customGradient([x], (input) => ({ value: tf.sum(input, -1, true), kept: [], pullback: (dy) => [spreadLast(dy, size)] }));
}

/** Repeats a last axis of size 1. This is the transpose of `sumLast`. */
export function spreadLast(x: Tensor, size: number): Tensor {
  const shape = [...x.shape.slice(0, -1), size];
  return customGradient([x], (input) => ({ value: tf.broadcastTo(input, shape), kept: [], pullback: (dy) => [sumLast(dy)] }));
}
