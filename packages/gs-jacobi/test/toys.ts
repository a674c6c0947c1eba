import { Rng, tf, type Tensor } from '@atelier/tensor';
import type { CausalMap, CausalProblem } from '../src/index.ts';

export type Drive = { drive: Tensor };
/** Nothing is kept of earlier tokens: the token before is all that counts. */
export type Nothing = Tensor[];

/** Φ(X)_t = drive_{t-1} + a·X_{t-1}; its error after n iterations is aⁿ times the first one, n tokens further. */
export const linearToy: CausalMap<{ a: Tensor }, Drive, Nothing> = {
  next: ({ params, x, inputs }) => ({ next: tf.add(inputs.drive, tf.mul(params.a, x)), own: [] }),
  pastAxis: 1,
};

/** Φ(X)_t = drive_{t-1} + Λ·Σ_{s<t} f(X_s): every token depends on all before it. What is kept are the tokens themselves. */
const sumToy = (f: (x: Tensor) => Tensor): CausalMap<{ slope: Tensor }, Drive, { x: Tensor }> => ({
  next: ({ params, x, inputs, past, seen }) => {
    let sum = tf.cumsum(f(x), 1);
    if (past !== undefined) {
      const c = past.x.shape[1]!;
      const counts = seen && tf.cast(tf.greaterEqual(tf.range(0, c, 1, 'int32'), tf.sub(tf.scalar(c, 'int32'), seen)), 'float32');
      const before = f(past.x);
      sum = tf.add(sum, tf.sum(counts === undefined ? before : tf.mul(before, tf.reshape(counts, [1, c, 1])), 1, true));
    }
    return { next: tf.add(inputs.drive, tf.mul(params.slope, sum)), own: { x } };
  },
  pastAxis: 1,
});
export const tanhToy = sumToy((x) => tf.tanh(x));
/** Grows beyond all bounds from a bad guess. */
export const expToy = sumToy((x) => tf.exp(x));

/** Z [B, T, D] as the start of the iteration, and moved by one token as what drives it. */
export function problem<P extends Record<string, Tensor>>(params: P, z: Tensor, guess: 'z' | 'zero' = 'z'): CausalProblem<P, Drive> {
  const [B, T, D] = z.shape as [number, number, number];
  return tf.tidy(() => {
    const first = tf.slice(z, [0, 0, 0], [B, 1, D]);
    const later = tf.slice(z, [0, 1, 0], [B, T - 1, D]);
    const drive = tf.concat([later, tf.zeros([B, 1, D])], 1);
    return { params, inputs: { drive }, guess: guess === 'z' ? z.clone() : tf.concat([first, tf.zerosLike(later)], 1) } as never;
  });
}

export const noise = (shape: [B: number, T: number, D: number], seed: number | string = 'noise'): Tensor => new Rng(seed).normal(shape);

/** The tanh toy token by token in float64, [B · T · D] with D = 1. */
export function tanhSequential(z: ArrayLike<number>, T: number, slope: number): Float64Array {
  const x = Float64Array.from(z);
  for (let at = 0; at < x.length; at += T) {
    let sum = 0;
    for (let t = 1; t < T; t++) {
      sum += Math.tanh(x[at + t - 1]!);
      x[at + t] = z[at + t]! + slope * sum;
    }
  }
  return x;
}
