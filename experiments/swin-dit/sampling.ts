import { ddimSampler, ddpmSampler, guidedNetwork, respace, stepNoise, type SamplerNetwork, type Variance } from '@atelier/diffusion';
import { applySwinDiT, type SwinDiTParams } from '@atelier/swin-dit';
import type { HostTensor, Rng, Tensor } from '@atelier/tensor';
import { inBatches } from '../src/evaluation/in-batches.ts';
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

/** The network of a model as samplers call it, with guidance, and whether it has learnt its variance. */
export function samplerNetwork(
  { settings }: Model,
  guidance: number,
): { network: SamplerNetwork<{ params: SwinDiTParams; y: Tensor }>; variance: Variance } {
  const { dit } = settings;
  return {
    variance: dit.learnSigma === true ? 'learned' : 'small',
    network: (x, t, { params, y }) => {
      const plain = (images: Tensor, times: Tensor, labels: Tensor): Tensor =>
        applySwinDiT(params, images, { t: times, y: labels }, settings);
      return guidedNetwork(plain, { scale: guidance, channels: 'all', nullLabel: dit.numClasses! })(x, t, y);
    },
  };
}

/**
 * Samples of a network from given starts z [N, H, W, C] and labels y [N]; ancestral sampling draws its own noise from `rng`.
 *
 * @returns [N, H, W, C] flattened
 */
export async function drawSamples(
  model: Model,
  params: SwinDiTParams,
  start: { z: HostTensor; y: HostTensor },
  rng: Rng,
  { sampler: kind, steps, guidance, clip, batch, signal }: Sampling,
): Promise<Float32Array> {
  const { network, variance } = samplerNetwork(model, guidance);
  const sampler = kind === 'ddim' ? ddimSampler(network, { variance, clip }) : ddpmSampler(network, { variance, clip });
  const shorter = respace(tables, steps);
  try {
    const { x } = await inBatches(start, { batch, signal }, ({ z, y }, from) => {
      const noise = kind === 'ddpm' ? { noise: stepNoise(rng.child(from), z.shape) } : {};
      return { x: sampler.sample({ params, y }, z, { tables: shorter, ...noise }) };
    });
    return x.data as Float32Array;
  } finally {
    sampler.dispose();
  }
}
