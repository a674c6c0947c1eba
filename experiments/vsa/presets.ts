import type { PartialConfig } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

/** Steps and sizes by the time that is at hand; what a preset does not name is as in the full one. */
export const presets = {
  /** About 20 s: sparse attention for 30 steps. */
  smoke: { dictionary: { variants: ['vsa'], training: { steps: 30 }, watch: 30, judged: 4, adaptation: 0 } },
  /** About a minute, for `atelier tour`: full, sparse and local attention as in `full`, and nothing else. */
  tour: { dictionary: { variants: ['full', 'vsa', 'local'], sweep: [4], adaptation: 0 } },
  /** All variants on the patch dictionary, the sweep over the number of tiles, and the adaptation of the full network. */
  full: {},
  /** Moving letters of 8 × 32 × 32 pixels, full attention against sparse attention at equal counted operations. */
  glyphs: { parts: ['glyphs'] },
  /** About 3 minutes on a machine that does nothing else: times of attention and of sampling. */
  speed: { parts: ['speed'] },
  /**
   * The published setting of the ablations (120 M parameters, 16 × 32 × 32 tokens, 32 of 256 tiles, batch 1024, rate 6e-4), on a machine that is up to it.
   * Moving letters of 16 × 64 × 64 pixels stand in for the latents of the published video data.
   */
  paper: {
    parts: ['glyphs'],
    glyphs: {
      heads: 12,
      headDim: 64,
      ffnDim: 3072,
      layers: 12,
      frames: 16,
      side: 64,
      videos: 100_000,
      keep: 32,
      training: { steps: 25_000, batch: 1024, learningRate: 6e-4, warmUp: 100 },
      samplingSteps: 50,
      judged: 64,
    },
  },
} as const satisfies { smoke: PartialConfig<Config> } & Record<string, PartialConfig<Config>>;
