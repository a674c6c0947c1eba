import { checkNumber, customGradient, dims, tf, type Tensor } from '@atelier/tensor';

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
  return tf.reshape(affineGroupNorm(flat, p.weight, p.bias, groups, eps), x.shape);
}

/**
 * y = c⊙(s⊙w) + b with c = x - mean and s = 1/√(var + eps). Numbers per group and channel are multiplied with each other first, because every pass over [B, T, C] costs.
 * Backward, with n numbers in a group and ⟨·⟩ the sum over it divided by n: dx = dy⊙(s⊙w) - c⊙s³⟨w⊙dy⊙c⟩ - s⟨w⊙dy⟩. The same sums over
 * positions give dw = Σ s⊙dy⊙c and db = Σ dy.
 */
function affineGroupNorm(x: Tensor, weight: Tensor, bias: Tensor, groups: number, eps: number): Tensor {
  return customGradient([x, weight, bias], (input, w, b) => {
    const { centre, inverse } = standardize(input, groups, eps);
    return {
      value: tf.add(tf.mul(centre, tf.mul(inverse, w)), b),
      kept: [input, w],
      pullback: (dy, kept, factor) => affinePullback(dy, kept, factor, groups, eps),
    };
  });
}

function affinePullback(dy: Tensor, x: Tensor, weight: Tensor, groups: number, eps: number): readonly [Tensor, Tensor, Tensor] {
  const { centre, inverse } = standardize(x, groups, eps);
  const share = 1 / x.shape[1]!;
  const sum = tf.sum(dy, 1, true); // -> [B, 1, C]
  const along = tf.sum(tf.mul(dy, centre), 1, true); // -> [B, 1, C]
  const level = tf.mul(inverse, overGroup(tf.mul(tf.mul(sum, weight), share), groups));
  const slope = tf.mul(tf.mul(inverse, tf.square(inverse)), overGroup(tf.mul(tf.mul(along, weight), share), groups));
  return [
    tf.sub(tf.sub(tf.mul(dy, tf.mul(inverse, weight)), tf.mul(centre, slope)), level),
    tf.sum(tf.mul(along, inverse), [0, 1]),
    tf.sum(sum, [0, 1]),
  ];
}

/** x - mean [B, T, C] and 1/√(var + eps) [B, 1, C]. */
function standardize(x: Tensor, groups: number, eps: number): { centre: Tensor; inverse: Tensor } {
  const centre = tf.sub(x, overGroup(tf.mean(x, 1, true), groups));
  return { centre, inverse: tf.rsqrt(tf.add(overGroup(tf.mean(tf.square(centre), 1, true), groups), eps)) };
}

/** The mean over the channels of each group, at each of them: [B, 1, C] -> [B, 1, C]. */
function overGroup(x: Tensor, groups: number): Tensor {
  const [B, , C] = x.shape as [number, number, number];
  const mean = tf.mean(tf.reshape(x, [B, groups, C / groups]), 2, true); // -> [B, G, 1]
  return tf.reshape(tf.broadcastTo(mean, [B, groups, C / groups]), [B, 1, C]);
}
