import { paritySuite } from '@atelier/testkit/vitest';
import { backward, block, embeddings, forward, pieces } from './parity/dit.ts';

paritySuite(
  'swin-dit',
  { dit_embeddings: embeddings, dit_block: block, dit_forward: forward, dit_backward: backward, dit_pieces: pieces },
  {
    elsewhere: {
      ...Object.fromEntries(
        ['diffusion_tables', 'dit_cfg', 'dit_training_loss', 'dit_sampling', 'dit_train_steps'].map((kind) => [kind, 'diffusion']),
      ),
      ...Object.fromEntries(['window_', 'swin_block', 'ourchoice_pswa'].map((kind) => [kind, 'swin-dit'])),
    },
  },
);
