import type { PartialConfig } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

export const presets = {
  /** Under 60 s: one network on strips. */
  smoke: {
    parts: ['strip'],
    strip: {
      chunks: 4,
      steps: 8,
      training: { steps: 600, batch: 24 },
      trained: [0],
      repeats: 1,
      variants: ['window'],
      judged: 64,
      histories: [1, 2, 4],
      distillation: { steps: 0 },
    },
  },
  /** Strips with three seeds, moving letters, and a long stream of them. */
  full: {},
  /** Strips alone. */
  strip: { parts: ['strip'] },
  /** Moving letters and a long stream of them. */
  glyphs: { parts: ['glyphs', 'stream'] },
  /** A network for moving letters is trained, then a long video is written to the run folder chunk by chunk. */
  stream: { parts: ['stream'] },
} as const satisfies { smoke: PartialConfig<Config> } & Record<string, PartialConfig<Config>>;
