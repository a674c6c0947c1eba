import { denoiserConfig } from '@atelier/__SLUG__';
import { z } from 'zod';
import { optimizationKeys } from '../src/training/optimization.ts';

export const configSchema = z.strictObject({
  seed: z.int().min(0).default(0),
  denoiser: denoiserConfig.prefault({}),
  training: z
    .strictObject(optimizationKeys({ steps: 3000, batch: 256, learningRate: 0.03, warmUp: 0, decay: 'linear', emaDecay: 0 }))
    .prefault({}),
  /** Points on which the denoiser is judged at every noise level. */
  judged: z.int().min(1).default(65_536),
  /** Seconds between two checkpoints. */
  checkpointSeconds: z.number().min(0).default(30),
});
export type Config = z.output<typeof configSchema>;
