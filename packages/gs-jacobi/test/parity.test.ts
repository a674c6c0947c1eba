import { type GoldenFile } from '@atelier/testkit';
import { paritySuite } from '@atelier/testkit/vitest';
import { gsjBlock } from './parity/block.ts';
import { crmIgm } from './parity/metrics.ts';
import { gsjSample } from './parity/sample.ts';

const theModel = 'tarflow';

/** Sum of the iterations in the file, of all settings, blocks and segments. */
const passes = (file: GoldenFile): number =>
  file
    .keys()
    .filter((key) => key.endsWith('.counts'))
    .flatMap((key) => [...file.host(key).data])
    .filter((count) => count > 0)
    .reduce((sum, count) => sum + count, 0);

paritySuite(
  'gs-jacobi',
  {
    gsj_block: { check: gsjBlock, slow: 'hundreds of passes of a block' },
    gsj_: {
      check: gsjSample,
      // Every iteration of every segment of every block is a pass of the network.
      slow: (file) => (passes(file) > 500 ? `about ${passes(file)} passes of a block` : undefined),
    },
    crm_igm: { check: crmIgm, slow: 'Jacobians of every block by power iteration' },
  },
  {
    elsewhere: Object.fromEntries(['bpd', 'denoise', 'forward', 'reverse', 'train_steps', 'vp', 'weights'].map((kind) => [kind, theModel])),
  },
);
