import type { PartialConfig } from '../src/experiment.ts';
import type { Config } from './config.ts';

/** Steps and sizes by the time that is at hand; what a preset does not name is as in the full one. */
export const presets = {
  /** Under 60 s: the exactly solvable case, and a short run on the checkerboard. */
  smoke: {
    parts: ['gaussian', 'checkerboard'],
    points: { training: { steps: 1000 }, manySteps: 16 },
  },
  /** What `npm start` runs, under 4 minutes: letters drawn in one step, from fonts that come along. */
  start: {
    parts: ['gaussian', 'checkerboard', 'images'],
    points: { training: { steps: 1500 } },
    images: {
      data: 'glyphs',
      characters: 'MEANFLOW',
      size: 16,
      drawn: 20_000,
      network: { patchSize: 4 },
      training: { steps: 2500, warmUp: 50, decay: 'cosine' },
      classifier: { steps: 500 },
      samples: 1024,
      watch: 500,
    },
  },
  /** 10 to 30 minutes: every claim that two cores can decide. */
  full: {
    points: { repeats: 2, tangents: ['v,0,0', 'v,1,0', 'v,1,1', '0,0,1'] },
    images: {
      guidance: [
        { omega: 2, kappa: 0 },
        { omega: 1, kappa: 0.5 },
      ],
      tangents: ['v,0,0', 'v,1,0', 'v,1,1'],
    },
  },
  /** Real digits, about an hour: a DiT of a million parameters. ATELIER_DATA may name a folder that holds MNIST already. */
  mnist: {
    parts: ['images'],
    images: {
      data: 'mnist',
      network: { patchSize: 4, width: 128, depth: 4, heads: 4 },
      training: { steps: 5000, batch: 64, warmUp: 100, decay: 'cosine', b2: 0.95, movingShare: 0.25, p: 1 },
      classifier: { steps: 2000 },
      samples: 2048,
      watch: 250,
    },
  },
} as const satisfies { smoke: PartialConfig<Config> } & Record<string, PartialConfig<Config>>;
