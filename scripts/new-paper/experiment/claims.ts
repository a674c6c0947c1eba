import type { ClaimDefinition } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

/** The claims of the paper, with bounds that are fixed before anything is measured. */
export const claims: readonly ClaimDefinition<Config>[] = [
  {
    id: 'least-error',
    claim: 'A linear denoiser of a Gaussian reaches the least error that is possible.',
    where: 'Wiener filter',
    published: 'ratio 1',
    how: 'mean over the noise levels of the squared error over the least possible one, on points that were not trained on',
    scale: ({ training, judged }) => `${training.steps} steps of ${training.batch} points, judged on ${judged}`,
    bound: { atMost: 1.15 },
    presets: ['smoke', 'full'],
  },
];
