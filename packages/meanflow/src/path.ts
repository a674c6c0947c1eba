import { dims, tf, type Tensor } from '@atelier/tensor';

/** Per-sample scalars [B] shaped [B, 1, …, 1], so that they broadcast over the samples of `like` [B, …]. */
export function perSample(a: Tensor, like: Tensor): Tensor {
  return tf.reshape(a, [a.shape[0]!, ...Array.from({ length: like.rank - 1 }, () => 1)]);
}

/**
 * The straight path between data and noise: z_t = (1 - t)·x + t·e (arXiv 2505.13447).
 *
 * @param x data [B, …] at t = 0
 * @param e noise [B, …] at t = 1
 * @param t times [B] in [0, 1]
 * @throws Error if the shapes do not agree
 */
export function interpolate(x: Tensor, e: Tensor, t: Tensor): Tensor {
  checkPair(x, e, 'interpolate');
  dims(t, 'B', 'interpolate: t', { B: x.shape[0]! });
  return tf.tidy(() => {
    const time = perSample(t, x);
    return tf.add(tf.mul(tf.sub(1, time), x), tf.mul(time, e));
  });
}

/** Velocity of the straight path given both of its ends, v_t = e - x [B, …]; constant in t. */
export function conditionalVelocity(x: Tensor, e: Tensor): Tensor {
  checkPair(x, e, 'conditionalVelocity');
  return tf.sub(e, x);
}

/** Sum of the squares of each sample: [B, …] -> [B]. A sum, not a mean: the constant c of the adaptive weight is measured against it. */
export function squaredNorm(x: Tensor): Tensor {
  return tf.tidy(() => tf.sum(tf.square(tf.reshape(x, [x.shape[0]!, -1])), 1)); // [B, …] -> [B, d] -> [B]
}

/** Throws unless the two tensors, named `first` and `second` in the message, are batches [B, …] of one shape with an axis beside the batch. */
export function checkPair(
  first: Tensor,
  second: Tensor,
  where: string,
  names: readonly [first: string, second: string] = ['x', 'e'],
): void {
  if (!(first instanceof tf.Tensor) || first.rank < 2)
    throw new Error(`${where}: ${names[0]}: wanted a batch [B, …] of rank 2 or more, got ${describe(first)}`);
  checkLike(second, first, `${where}: ${names[1]}`);
}

/** Throws unless `value` has the shape of `like`. */
export function checkLike(value: Tensor, like: Tensor, where: string): void {
  const same =
    value instanceof tf.Tensor && value.shape.length === like.shape.length && value.shape.every((size, i) => size === like.shape[i]);
  if (!same) throw new Error(`${where}: wanted shape [${like.shape.join(', ')}], got ${describe(value)}`);
}

const describe = (value: unknown): string =>
  value instanceof tf.Tensor ? `[${value.shape.join(', ')}]` : value === null ? 'null' : typeof value;
