import { dims, tf, type Tensor } from '@atelier/tensor';
import { z } from 'zod';

/** Distribution of a time: sigmoid(std·n + mean) of a standard normal n, or uniform on [0, 1). */
export const timeDistribution = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('logit-normal'), mean: z.number(), std: z.number().positive() }),
  z.strictObject({ kind: z.literal('uniform') }),
]);
export type TimeDistribution = z.infer<typeof timeDistribution>;

/** Times from draws [B]. Logit-normal: sigmoid(std·n + mean), where the draws n are standard normals. Uniform: the draws themselves, uniform in [0, 1). */
export function timeFromDraw(draw: Tensor, distribution: TimeDistribution): Tensor {
  dims(draw, 'B', 'timeFromDraw: draw');
  if (distribution.kind === 'uniform') return tf.clone(draw);
  return tf.tidy(() => tf.sigmoid(tf.add(tf.mul(draw, distribution.std), distribution.mean)));
}
