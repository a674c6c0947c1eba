import { paritySuite } from '@atelier/testkit/vitest';
import { ourChoicePswa } from './parity/pswa.ts';
import { swinBlocks, windowAttentions, windowOps } from './parity/windows.ts';

// Windows with the official Swin transformer, PSWA with our own reference.
paritySuite(
  'swin-dit',
  { window_ops: windowOps, window_attention: windowAttentions, swin_block: swinBlocks, ourchoice_pswa: ourChoicePswa },
  { elsewhere: { dit_: 'nn and diffusion', diffusion_: 'diffusion' } },
);
