import { dims, parseConfig, tf, type Tensor } from '@atelier/tensor';
import { denoiserConfig, type DenoiserSettings } from './config.ts';
import type { DenoiserNetwork } from './objective.ts';

/**
 * From noise to points: Euler steps of dx/dσ = (x - D(x, σ)) / σ (Eq. 3 of arXiv 2206.00364) from the largest σ over all levels to 0.
 *
 * @param e standard normal noise [B, D]; it stays the caller's
 * @returns points [B, D], the caller's to dispose
 * @throws Error if the shape does not fit
 */
export function samplePoints(network: DenoiserNetwork, e: Tensor, settings: DenoiserSettings = {}): Tensor {
  const { sigmas, dimension } = parseConfig(denoiserConfig, settings, 'samplePoints');
  const { B } = dims<'B'>(e, 'B D', 'samplePoints: e', { D: dimension });
  return tf.tidy(() => {
    let x = tf.mul(e, sigmas.at(-1)!);
    for (let level = sigmas.length - 1; level >= 0; level--) {
      const clean = network(x, tf.fill([B], level, 'int32'));
      const next = level === 0 ? 0 : sigmas[level - 1]!;
      x = tf.add(clean, tf.mul(tf.sub(x, clean), next / sigmas[level]!));
    }
    return x;
  });
}
