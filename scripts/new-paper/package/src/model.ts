import { initParameters, type ParameterTable } from '@atelier/nn';
import { dims, parseConfig, tf, type Rng, type Tensor } from '@atelier/tensor';
import { denoiserConfig, type DenoiserSettings } from './config.ts';

/** One linear map for each noise level: weight [K, D, D], bias [K, D]. */
export type DenoiserParams = { weight: Tensor; bias: Tensor };

/** Name, shape and start of every parameter. */
export function denoiserParameters(settings: DenoiserSettings = {}): ParameterTable {
  const { dimension, sigmas } = parseConfig(denoiserConfig, settings, 'denoiserParameters');
  return {
    weight: { shape: [sigmas.length, dimension, dimension], init: { normal: 0.1 } },
    bias: { shape: [sigmas.length, dimension], init: 'zeros' },
  };
}

/** New parameters, the caller's to dispose. */
export function initDenoiser(rng: Rng, settings: DenoiserSettings = {}): DenoiserParams {
  return initParameters(rng, denoiserParameters(settings)) as DenoiserParams;
}

/**
 * The denoised points x̂ = z·W_k + b_k.
 *
 * @param z noisy points [B, D]
 * @param k noise levels [B] int32 in 0 … K-1
 * @returns [B, D]
 * @throws Error if a shape does not fit
 */
export function denoise({ weight, bias }: DenoiserParams, z: Tensor, k: Tensor): Tensor {
  const { B, D } = dims<'B' | 'D'>(z, 'B D', 'denoise: z');
  dims(k, 'B', 'denoise: k', { B });
  dims(weight, 'K D D', 'denoise: weight', { D });
  const rows = tf.matMul(tf.reshape(z, [B, 1, D]), tf.gather(weight, k)); // [B, 1, D] · [B, D, D] -> [B, 1, D]
  return tf.add(tf.reshape(rows, [B, D]), tf.gather(bias, k));
}
