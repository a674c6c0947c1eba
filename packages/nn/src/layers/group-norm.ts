import { checkNumber, closedForm, dims, tf, type Tensor } from '@atelier/tensor';

export type GroupNormOptions = {
  /** Number of groups that the channels are cut into, side by side; it divides them. */
  groups: number;
  /** Added to the variance. */
  eps: number;
};

/**
 * Group norm of x [B, …, C], channels last: each sample and group of C/groups channels is normalized over all its positions with the biased variance,
 * then ·weight + bias per channel [C]. (Wu & He, arXiv 1803.08494.)
 */
export function groupNorm(p: { weight: Tensor; bias: Tensor }, x: Tensor, { groups, eps }: GroupNormOptions): Tensor {
  const C = x.shape.at(-1);
  if (x.rank < 2 || C === undefined) throw new Error(`groupNorm: x: wanted shape [B, …, C], got [${x.shape.join(', ')}]`);
  checkNumber('groupNorm: groups', groups, { integer: true, min: 1 });
  if (C % groups !== 0) throw new Error(`groupNorm: groups: wanted a divisor of the ${C} channels, got ${groups}`);
  checkNumber('groupNorm: eps', eps, { min: 0 });
  for (const part of ['weight', 'bias'] as const) dims(p[part], 'C', `groupNorm: ${part}`, { C });
  const flat = tf.reshape(x, [x.shape[0]!, -1, C]); // [B, …, C] -> [B, T, C]
  const normal = closedForm(
    flat,
    (input) => standardize(input, groups, eps).normal,
    (dy, input) => pullback(dy, input, groups, eps),
  );
  return tf.reshape(tf.add(tf.mul(normal, p.weight), p.bias), x.shape);
}

/** x̂ [B, T, C] and 1/√(var + eps) [B, 1, C]. */
function standardize(x: Tensor, groups: number, eps: number): { normal: Tensor; inverse: Tensor } {
  const centre = tf.sub(x, groupMean(x, groups));
  const inverse = tf.rsqrt(tf.add(groupMean(tf.square(centre), groups), eps));
  return { normal: tf.mul(centre, inverse), inverse };
}

/** J = (I - 11ᵀ/n - x̂x̂ᵀ/n)/s within each group of n numbers. */
function pullback(dy: Tensor, x: Tensor, groups: number, eps: number): Tensor {
  const { normal, inverse } = standardize(x, groups, eps);
  const along = tf.mul(normal, groupMean(tf.mul(normal, dy), groups));
  return tf.mul(inverse, tf.sub(tf.sub(dy, groupMean(dy, groups)), along));
}

/**
 * The mean of each sample's group, at each of its channels: [B, T, C] -> [B, 1, C]. It is summed over positions first, along memory, and the few sums that
 * remain over the channels of a group. Linear and its own transpose but for the shape, which broadcasting restores.
 */
function groupMean(x: Tensor, groups: number): Tensor {
  const [B, , C] = x.shape as [number, number, number];
  const channels = tf.reshape(tf.mean(x, 1, true), [B, groups, C / groups]);
  const mean = tf.mean(channels, 2, true); // -> [B, G, 1]
  return tf.reshape(tf.broadcastTo(mean, [B, groups, C / groups]), [B, 1, C]);
}
