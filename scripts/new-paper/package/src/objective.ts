import { dims, parseConfig, tf, type Rng, type Tensor } from '@atelier/tensor';
import { denoiserConfig, type DenoiserSettings } from './config.ts';

/** Any denoiser: noisy points [B, D] and noise levels [B] int32 -> points [B, D]. */
export type DenoiserNetwork = (z: Tensor, k: Tensor) => Tensor;

/** Points x [B, D], standard normal noise e [B, D], and the noise level of each point, k [B] int32. */
export type DenoisingBatch = { x: Tensor; e: Tensor; k: Tensor };

/**
 * The mean over points and coordinates of (D(x + σ_k·e, k) - x)² (denoising score matching, Eq. 2 of arXiv 2206.00364 with weight 1), a scalar.
 *
 * @throws Error if a shape does not fit
 */
export function denoisingLoss(network: DenoiserNetwork, { x, e, k }: DenoisingBatch, settings: DenoiserSettings = {}): Tensor {
  const { sigmas, dimension } = parseConfig(denoiserConfig, settings, 'denoisingLoss');
  const { B } = dims<'B'>(x, 'B D', 'denoisingLoss: x', { D: dimension });
  dims(e, 'B D', 'denoisingLoss: e', { B, D: dimension });
  dims(k, 'B', 'denoisingLoss: k', { B });
  const sigma = tf.reshape(tf.gather(tf.tensor1d(sigmas), k), [B, 1]);
  const z = tf.add(x, tf.mul(sigma, e));
  return tf.mean(tf.square(tf.sub(network(z, k), x)));
}

/** Noise and levels for `count` points, the caller's to dispose. */
export function drawNoise(rng: Rng, count: number, settings: DenoiserSettings = {}): { e: Tensor; k: Tensor } {
  const { sigmas, dimension } = parseConfig(denoiserConfig, settings, 'drawNoise');
  return {
    e: rng.child('noise').normal([count, dimension]),
    k: tf.tensor1d(rng.child('levels').integers(count, 0, sigmas.length), 'int32'),
  };
}
