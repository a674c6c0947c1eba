import { tf } from '../src/tf.ts';
import type { Tensor } from './pool.ts';
import type { Settle } from './program.ts';

/** Relative size of the errors: some units in the last place of float32. */
const SIZE = 2 ** -19;

/** Functions of several operators clip their inputs to this. */
const CLIPPED = 50;

/**
 * A function that changes every float by a small random factor, others from run to run. After an operator that adds up, it also adds a small
 * part of the largest input, because there the rounding error depends on what was added. Every second run makes such a small result 0 instead:
 * one engine may cancel exactly where the other one leaves a rounding error. And it makes -0 to 0, as ONNX Runtime's `Where` does.
 */
export function perturbation(run: number): Settle {
  let state = Math.imul(run, 0x9e3779b1);
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return SIZE * (state / 2 ** 31 - 1);
  };
  const random = (x: Tensor, one: number, scale = 1): Tensor =>
    tf.tensor(
      Float32Array.from({ length: x.size }, () => one + scale * next()),
      x.shape,
    );
  return (x, closeness, inputs) => {
    if (x.dtype !== 'float32' || x.size === 0) return x;
    const near = tf.mul(x, random(x, 1));
    const size = closeness === 'moved' || closeness === 'near' ? 0 : closeness === 'cancelled' ? 1 : largest(inputs);
    if (run % 2 === 0) return tf.where(tf.lessEqual(tf.abs(near), SIZE * size), tf.zerosLike(near), near);
    return size === 0 ? near : tf.add(near, random(x, 0, size));
  };
}

/** The largest absolute value. An infinite one counts as the number that it is clipped to. */
export function largest(xs: readonly Tensor[]): number {
  let most = 0;
  for (const x of xs) for (const value of x.dataSync()) most = Math.max(most, Math.abs(value) < Infinity ? Math.abs(value) : CLIPPED);
  return most;
}
