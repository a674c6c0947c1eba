import { ddimSampler, ddpmSampler, guidedNetwork, respace, stepNoise, type SamplerNetwork } from '@atelier/diffusion';
import { applySwinDiT, type SwinDiTParams } from '@atelier/swin-dit';
import { tf, type Rng, type Tensor } from '@atelier/tensor';
import type { Model } from './models.ts';
import { tables } from './training.ts';

export type Sampling = {
  readonly sampler: 'ddim' | 'ddpm';
  readonly steps: number;
  /** Guidance scale; 1 is the plain network. */
  readonly guidance: number;
  /** Whether x̂₀ is clipped to [-1, 1], where the data are. */
  readonly clip: boolean;
  /** Images that are drawn side by side. */
  readonly batch: number;
  readonly signal?: AbortSignal;
};

type Context = { params: SwinDiTParams; y: Tensor };

/**
 * Samples of a network from given starts z [N, H, W, C] flattened and labels y [N], on the host; ancestral sampling draws its own noise from `rng`.
 *
 * @returns [N, H, W, C] flattened
 */
export async function drawSamples(
  model: Model,
  params: SwinDiTParams,
  start: { z: Float32Array; y: Int32Array; shape: readonly [number, number, number] },
  rng: Rng,
  { sampler: kind, steps, guidance, clip, batch, signal }: Sampling,
): Promise<Float32Array> {
  const { dit } = model.settings;
  const variance = dit.learnSigma === true ? 'learned' : 'small';
  const network: SamplerNetwork<Context> = (x, t, { params: weights, y }) => {
    const plain = (images: Tensor, times: Tensor, labels: Tensor): Tensor =>
      applySwinDiT(weights, images, { t: times, y: labels }, model.settings);
    return guidedNetwork(plain, { scale: guidance, channels: 'all', nullLabel: dit.numClasses! })(x, t, y);
  };
  const sampler = kind === 'ddim' ? ddimSampler(network, { variance, clip }) : ddpmSampler(network, { variance, clip });
  const shorter = respace(tables, steps);
  const size = start.z.length / start.y.length;
  const out = new Float32Array(start.z.length);
  try {
    for (let from = 0; from < start.y.length; from += batch) {
      signal?.throwIfAborted();
      const to = Math.min(start.y.length, from + batch);
      const z = tf.tensor(start.z.subarray(from * size, to * size), [to - from, ...start.shape]);
      const y = tf.tensor1d(start.y.subarray(from, to), 'int32');
      const noise = kind === 'ddpm' ? { noise: stepNoise(rng.child(from), z.shape) } : {};
      const sample = sampler.sample(shorter, z, { context: { params, y }, ...noise });
      out.set((await sample.data()) as Float32Array, from * size);
      tf.dispose([z, y, sample]);
    }
  } finally {
    sampler.dispose();
  }
  return out;
}
