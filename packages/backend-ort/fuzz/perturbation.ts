import { tf } from '../src/tf.ts';
import type { Tensor } from './pool.ts';
import type { Settle } from './program.ts';

/** Relative size of the errors: some units in the last place of float32. */
const SIZE = 2 ** -19;

/**
 * A function that changes every float by a small random factor, others from run to run. After an operator that adds up, it also adds a small
 * part of the largest input, because there the rounding error depends on what was added.
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
    if (closeness === 'moved' || closeness === 'near') return near;
    return tf.add(near, random(x, 0, largest(inputs)));
  };
}

/** The largest finite absolute value. */
export function largest(xs: readonly Tensor[]): number {
  let most = 0;
  for (const x of xs) for (const value of x.dataSync()) if (Math.abs(value) < Infinity) most = Math.max(most, Math.abs(value));
  return most;
}
