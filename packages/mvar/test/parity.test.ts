import { golden } from '@atelier/testkit';
import { paritySuite } from '@atelier/testkit/vitest';
import { adaptiveUnits, attentionUnits, masks, neighborhoods } from './parity/attention.ts';
import { filters, greedy } from './parity/sampling.ts';
import { decoder, encoder, phis, quantizerTraining, quantizing, resampling } from './parity/tokenizer.ts';
import { schedules, trainingSteps } from './parity/training.ts';
import { mvarForwards, mvarGroupGradients, varForward, weights } from './parity/transformer.ts';

/** Files that are too large for the repository: compared where the whole set is. */
const large = { vae_encoder: encoder, vae_decoder: decoder };
const names = golden('mvar').files();
const present = Object.fromEntries(Object.entries(large).filter(([prefix]) => names.some((name) => name.startsWith(prefix))));

paritySuite('mvar', {
  resample: resampling,
  phi: phis,
  quantizer_train: quantizerTraining,
  quantizer: quantizing,
  ...present,
  masks,
  na2d: neighborhoods,
  attention_unit: attentionUnits,
  adaln_unit: adaptiveUnits,
  model_weights: weights,
  var_forward: varForward,
  mvar_forward: mvarForwards,
  mvar_grads: mvarGroupGradients,
  sample_greedy: greedy,
  filters,
  schedules,
  train_steps: trainingSteps,
});
