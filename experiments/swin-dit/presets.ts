import type { PartialConfig } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

/** Steps and sizes by the time that is at hand; what a preset does not name is as in the full one. */
export const presets = {
  /** Under 60 s: DiT, only windows, and PSWA on fields of 8 x 8 pixels. */
  smoke: {
    parts: ['fields'],
    fields: {
      grid: 4,
      window: 2,
      width: 32,
      models: ['dit', 'window', 'pswa'],
      training: { steps: 300, learningRate: 3e-3 },
      repeats: 1,
    },
  },
  /** About 20 minutes: all models on fields of 12 x 12 pixels, twice, and letters of 16 x 16 tokens, with the attention of DiT by distance. */
  full: { images: { glyphs: { characters: 'SWINDT', faces: ['DejaVuSans-Bold'], rotation: 0, shear: 0 } } },
  /** Real digits, 14 x 14 tokens in windows of 7 x 7, about 20 minutes: DiT and PSWA. ATELIER_DATA may name a folder that holds MNIST already. */
  mnist: {
    parts: ['images'],
    images: {
      data: 'mnist',
      network: { patchSize: 2, width: 96, window: 7 },
      training: { steps: 6000, batch: 16, learningRate: 2e-3 },
      samples: 1024,
    },
  },
  /** Photographs in CIFAR-10's format, 16 x 16 tokens in windows of 8 x 8, about 30 minutes. */
  cifar10: {
    parts: ['images'],
    images: {
      data: 'cifar10',
      network: { patchSize: 2, width: 96, depth: 6 },
      training: { steps: 4000, batch: 16, learningRate: 1.5e-3 },
      samples: 1024,
    },
  },
  /**
   * The published setting of DiT (400,000 steps of batch 256 at 10⁻⁴, learnt variance, 250 ancestral steps) for Swin-DiT-L/2 and DiT-L/2, on a machine that is up to it;
   * the paper's own could not be found. The images of CIFAR-10 stand in for ImageNet latents, which are as large (32 x 32) but need the encoder of another model;
   * distances are those of the other presets, not FIDs.
   */
  paper: {
    parts: ['images'],
    images: {
      data: 'cifar10',
      network: { patchSize: 2, width: 1024, depth: 24, heads: 16, window: 8, learnSigma: true },
      training: { steps: 400_000, batch: 256, learningRate: 1e-4, warmUp: 0, decay: 'none', emaDecay: 0.9999 },
      sampler: 'ddpm',
      samplingSteps: 250,
      samples: 10_000,
      watch: 10_000,
    },
  },
} as const satisfies { smoke: PartialConfig<Config> } & Record<string, PartialConfig<Config>>;
