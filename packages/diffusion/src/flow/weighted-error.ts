import { checkPair, dims, parseConfig, stopGradient, tf, type Tensor } from '@atelier/tensor';
import { z } from 'zod';
import { squaredNorm } from './path.ts';

/** Adaptive weight w = 1/(S + c)^p of a sample with summed squared error S. p = 0 gives the plain squared error; use it below about 50 dimensions. */
export const weightConfig = z
  .strictObject({ p: z.number().min(0), c: z.number().min(0) })
  .refine(({ p, c }) => p === 0 || Number.isFinite(Math.fround(Math.fround(c) ** -p)), {
    path: ['c'],
    message: 'wanted c so far above 0 that 1/c^p, the weight of a sample without error, is a float32 number, unless p is 0',
  });
export type WeightConfig = z.infer<typeof weightConfig>;

/** The loss and its parts: `loss` is a scalar, the others are [B] or [B, …]. Only `loss`, `lossPerSample`, `squaredError` and `u` carry a gradient. */
export type LossParts = {
  loss: Tensor;
  lossPerSample: Tensor;
  /** S_i = Σ (u - target)². Log this value: with p = 1 the loss itself stays near 1 even while the network improves. */
  squaredError: Tensor;
  weight: Tensor;
  z: Tensor;
  velocity: Tensor;
  u: Tensor;
  target: Tensor;
};
/** Adaptive weight w = 1/(S + c)^p of summed squared errors S [B], without gradient (arXiv 2505.13447; meanflow.py:239 of Gsunshine/meanflow). */
export function adaptiveWeight(squaredError: Tensor, options: WeightConfig): Tensor {
  dims(squaredError, 'B', 'adaptiveWeight: squaredError');
  const { p, c } = parseConfig(weightConfig, { p: options.p, c: options.c }, 'adaptiveWeight');
  if (p === 0) return tf.onesLike(squaredError);
  return tf.tidy(() => {
    const base = tf.add(stopGradient(squaredError), c);
    return stopGradient(p === 1 ? tf.reciprocal(base) : tf.pow(base, -p));
  });
}

/** Adaptively weighted squared error of `u` against `target`, both [B, …]: (1/B)·Σ_i w_i·S_i. No gradient flows through `target` or the weight. */
export function weightedError(
  u: Tensor,
  target: Tensor,
  options: WeightConfig,
): Pick<LossParts, 'loss' | 'lossPerSample' | 'squaredError' | 'weight'> {
  checkPair(u, target, 'weightedError', ['u', 'target']);
  return tf.tidy(() => {
    const squaredError = squaredNorm(tf.sub(u, stopGradient(target))); // [B, …] -> [B]
    const weight = adaptiveWeight(squaredError, options);
    const lossPerSample = tf.mul(weight, squaredError);
    return { loss: tf.mean(lossPerSample), lossPerSample, squaredError, weight };
  });
}
