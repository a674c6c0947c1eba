import { flattenTree } from '@atelier/tensor';
import { paritySuite } from '@atelier/testkit/vitest';
import { forward } from './parity/forward.ts';
import { loadModel } from './parity/model.ts';
import { bitsOfPixels, denoising, volumePreserving } from './parity/likelihood.ts';
import { reverse } from './parity/reverse.ts';
import { trainingSteps } from './parity/training.ts';

paritySuite(
  'gs-jacobi',
  {
    bpd: bitsOfPixels,
    denoise: { check: denoising, slow: 'gradients of whole images' },
    forward,
    reverse: { check: reverse, slow: 'every token of every block is a pass of the network' },
    train_steps: trainingSteps,
    vp: volumePreserving,
    weights: (file) => Object.keys(flattenTree(loadModel(file).model)).length,
  },
  { elsewhere: { gsj_: 'gs-jacobi', crm_igm: 'gs-jacobi' } },
);
