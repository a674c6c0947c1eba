import { tf, useEngine } from '@atelier/tensor';
import { golden, type Golden, type GoldenFile } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { ditForward, ditSample, ditWeights } from './parity/dit.ts';
import { cfgTarget, condDrop, ditLoss, ditLossGradients } from './parity/dit-losses.ts';
import { imfLosses, imfLossGradients, imfScales, imfWeights } from './parity/imf.ts';
import { adaptiveWeights, lossOfTanhMlp } from './parity/losses.ts';
import { timeSamplersJax, timeSamplersPyTorch } from './parity/time-samplers.ts';
import { edmAugment, ema } from './parity/training-data.ts';

/** Compares one file with the package and says how many cases or tensors it held. */
type Check = (file: GoldenFile, all: Golden) => number;

/** What is checked, by the beginning of the file's name; the longest that fits counts. */
const checks: Record<string, Check> = {
  'time-sampler-pt': timeSamplersPyTorch,
  'time-sampler-jax': timeSamplersJax,
  'adaptive-weight': adaptiveWeights,
  'loss-mlp': lossOfTanhMlp,
  ema,
  'edm-augment': edmAugment,
  'dit-weights': ditWeights,
  'dit-forward': ditForward,
  'cfg-target': cfgTarget,
  'cond-drop': condDrop,
  'dit-loss': ditLoss,
  'dit-loss-grads': ditLossGradients,
  'dit-sample': ditSample,
  'imf-cfg-scale': imfScales,
  'imf-weights': imfWeights,
  'imf-loss': imfLosses,
  'imf-loss-grads': imfLossGradients,
};

/** Files of the CIFAR-10 U-Net, which this package does not have yet. */
const pending = ['unet-forward', 'unet-loss', 'unet-ops', 'unet-sample', 'unet-weights'];

const all = golden('meanflow');
const checkOf = (name: string): Check | undefined => {
  const prefixes = Object.keys(checks).filter((prefix) => name.startsWith(prefix));
  return checks[prefixes.sort((a, b) => b.length - a.length)[0]!];
};

beforeAll(async () => {
  await useEngine();
});

describe('parity with the official implementations', () => {
  for (const name of all.files().filter((file) => !pending.includes(file))) {
    it(name, () => {
      const check = checkOf(name);
      if (check === undefined) throw new Error(`parity: wanted a check for '${name}', got only ${Object.keys(checks).join(', ')}`);
      const scope = tf.engine();
      scope.startScope();
      try {
        expect(check(all.load(name), all)).toBeGreaterThan(0);
      } finally {
        scope.endScope();
      }
    });
  }

  it('is pending for the U-Net alone', () => {
    const unchecked = all.files().filter((file) => checkOf(file) === undefined);
    console.info(
      `pending without a check: ${pending.join(', ')}; of these in ${all.dir} or beside the checkout: ${unchecked.join(', ') || 'none'}`,
    );
    expect(pending).toEqual(expect.arrayContaining(unchecked));
    expect(Object.keys(checks).filter((prefix) => pending.includes(prefix))).toEqual([]);
  });
});
