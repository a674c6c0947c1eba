import { paritySuite } from '@atelier/testkit/vitest';
import { ancestralSampling, ddimSampling, guidance, tablesOfDiffusion, trainingLoss, trainingSteps } from './parity/diffusion.ts';

paritySuite(
  'swin-dit',
  {
    diffusion_tables: tablesOfDiffusion,
    dit_cfg: guidance,
    dit_training_loss: trainingLoss,
    dit_sampling: (file, all) => ancestralSampling(file, all) + ddimSampling(file, all),
    dit_train_steps: trainingSteps,
  },
  {
    elsewhere: {
      ...Object.fromEntries(['dit_embeddings', 'dit_block', 'dit_forward', 'dit_backward', 'dit_pieces'].map((kind) => [kind, 'nn'])),
      ...Object.fromEntries(['window_', 'swin_block', 'ourchoice_pswa'].map((kind) => [kind, 'swin-dit'])),
    },
  },
);
