import { checkPair, dims, perSample, type Tensor, tf } from '@atelier/tensor';

/**
 * The straight path between data and noise: z_t = (1 - t)·x + t·e (arXiv 2505.13447).
 *
 * @param x data [B, …] at t = 0
 * @param e noise [B, …] at t = 1
 * @param t times [B] in [0, 1]
 * @throws Error if the shapes do not agree
 */
export function interpolate(x: Tensor, e: Tensor, t: Tensor): Tensor {
  checkPair(x, e, 'interpolate', ['x', 'e']);
  dims(t, 'B', 'interpolate: t', { B: x.shape[0]! });
  return tf.tidy(() => {
    const time = perSample(t, x);
    return tf.add(tf.mul(tf.sub(1, time), x), tf.mul(time, e));
  });
}

/** Velocity of the straight path between given ends x and e: v_t = e - x [B, …], constant in t. */
export function conditionalVelocity(x: Tensor, e: Tensor): Tensor {
  checkPair(x, e, 'conditionalVelocity', ['x', 'e']);
  return tf.sub(e, x);
}

/** Sum of the squares of each sample: [B, …] -> [B]. It is a sum and not a mean, because the adaptive weight adds its constant c to a sum. */
export function squaredNorm(x: Tensor): Tensor {
  return tf.tidy(() => tf.sum(tf.square(tf.reshape(x, [x.shape[0]!, -1])), 1)); // [B, …] -> [B, d] -> [B]
}
