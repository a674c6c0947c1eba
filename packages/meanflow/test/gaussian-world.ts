import { perSample, type Tensor, tf } from '@atelier/tensor';
import type { AverageVelocity } from '../src/index.ts';

/**
 * Data x ~ N(μ, s²·I), for which everything is known: m(t) = (1-t)·μ, σ(t)² = (1-t)²·s² + t², the fields v and u below, and the flow map
 * z_r = m(r) + σ(r)/σ(t)·(z_t - m(t)).
 */
export function gaussianWorld(mean: number[], s: number) {
  const mu = (): Tensor => tf.tensor(mean);
  const variance = (t: Tensor): Tensor => tf.add(tf.mul(tf.square(tf.sub(1, t)), s * s), tf.square(t));
  const sigma = (t: Tensor): Tensor => tf.sqrt(variance(t));
  const centred = (z: Tensor, t: Tensor): Tensor => tf.sub(z, tf.mul(tf.sub(1, perSample(t, z)), mu()));

  /** v(z, t) = -μ + (t - (1-t)·s²)/σ(t)²·(z - m(t)). */
  const velocity = (z: Tensor, t: Tensor): Tensor => {
    const slope = tf.div(tf.sub(t, tf.mul(tf.sub(1, t), s * s)), variance(t));
    return tf.sub(tf.mul(perSample(slope, z), centred(z, t)), mu());
  };
  /**
   * u(z, r, t) = -μ + (1 - σ(r)/σ(t))/(t-r)·(z - m(t)) with r = t - h. The quotient is written as ((t+r) - (2-t-r)·s²)/(σ(t)·(σ(t)+σ(r))),
   * which is the same number without the cancellation in 1 - σ(r)/σ(t), and right at h = 0.
   */
  const averageVelocity: AverageVelocity = (z, t, h) => {
    const r = tf.sub(t, h);
    const sum = tf.add(t, r);
    const top = tf.sub(sum, tf.mul(tf.sub(2, sum), s * s));
    const slope = tf.div(top, tf.mul(sigma(t), tf.add(sigma(t), sigma(r))));
    return tf.sub(tf.mul(perSample(slope, z), centred(z, t)), mu());
  };
  const flowMap = (z: Tensor, t: Tensor, r: Tensor): Tensor =>
    tf.add(tf.mul(perSample(tf.sub(1, r), z), mu()), tf.mul(perSample(tf.div(sigma(r), sigma(t)), z), centred(z, t)));
  /** The posterior of x given z_t = z, for plain numbers: a Gaussian with precision 1/s² + (1-t)²/t². */
  const posterior = (z: number[], t: number): { mean: number[]; std: number } => {
    const precision = 1 / (s * s) + ((1 - t) / t) ** 2;
    return { mean: z.map((zi, i) => (mean[i]! / (s * s) + ((1 - t) * zi) / (t * t)) / precision), std: 1 / Math.sqrt(precision) };
  };
  return { velocity, averageVelocity, flowMap, posterior };
}
