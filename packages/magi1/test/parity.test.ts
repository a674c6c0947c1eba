import { golden } from '@atelier/testkit';
import { paritySuite, type ParityCheck } from '@atelier/testkit/vitest';
import { sliceAttentions, sliceMasks } from './parity/attention.ts';
import { gaussianPipelines, runs } from './parity/generation.ts';
import { cachedForwards, forwards, ropes, timestepEmbeddings, trainingGradients, weights } from './parity/network.ts';
import { vaes } from './parity/vae.ts';
import { chunkSequences, guidances, timesteps, transportPlans } from './parity/schedules.ts';

/** The file of the video autoencoder is too large for the repository: it is compared where the whole set is. */
const vae: Record<string, ParityCheck> = golden('magi1').files().includes('vae') ? { vae: vaes } : {};

paritySuite('magi1', {
  timesteps,
  chunk_sequences: chunkSequences,
  transport_plan: transportPlans,
  gaussian_pipeline: gaussianPipelines,
  guidance: guidances,
  rope: ropes,
  timestep_embedding: timestepEmbeddings,
  dit_weights: weights,
  dit_forward: forwards,
  dit_kvcache: cachedForwards,
  // One whole run on the slow engine is enough; its network and its schedule are compared apart as well.
  gen_: { check: runs, slow: (file) => (file.name.includes('chunkwise') ? undefined : 'a whole run takes many seconds') },
  ...vae,
  train_grad: trainingGradients,
  ffa_masks: sliceMasks,
  ffa_attention: sliceAttentions,
});
