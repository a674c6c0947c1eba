import { tf, useEngine } from '@atelier/tensor';
import { golden, type Golden, type GoldenFile } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { adaptiveUnits, attentionUnits, masks, neighborhoods } from './parity/attention.ts';
import { filters, greedy } from './parity/sampling.ts';
import { decoder, encoder, phis, quantizerTraining, quantizing, resampling } from './parity/tokenizer.ts';
import { schedules, trainingSteps } from './parity/training.ts';
import { mvarForwards, mvarGroupGradients, varForward, weights } from './parity/transformer.ts';

/** Compares one file with the package and says how many cases it held. */
type Check = (file: GoldenFile, all: Golden) => number;

const checks: Record<string, Check> = {
  resample: resampling,
  phi: phis,
  quantizer_train: quantizerTraining,
  quantizer: quantizing,
  vae_encoder: encoder,
  vae_decoder: decoder,
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
};

/** Files too large for the repository: checked where the whole set is. */
const optional = ['vae_encoder', 'vae_decoder'];

const all = golden('mvar');
/** The longest beginning wins: `quantizer_train` is no `quantizer`. */
const checkOf = (name: string): string | undefined =>
  Object.keys(checks)
    .filter((prefix) => name.startsWith(prefix))
    .sort((a, b) => b.length - a.length)[0];

beforeAll(async () => {
  await useEngine();
});

describe('parity with the official implementation', () => {
  for (const name of all.files().filter((file) => checkOf(file) !== undefined))
    it(name, () => {
      const scope = tf.engine();
      scope.startScope();
      try {
        expect(checks[checkOf(name)!]!(all.load(name), all)).toBeGreaterThan(0);
      } finally {
        scope.endScope();
      }
    });

  it('has a file for every check, and a check for every file', () => {
    const names = all.files();
    const without = Object.keys(checks).filter((prefix) => !optional.includes(prefix) && !names.some((name) => checkOf(name) === prefix));
    expect(without).toEqual([]);
    expect(names.filter((name) => checkOf(name) === undefined)).toEqual([]);
  });
});
