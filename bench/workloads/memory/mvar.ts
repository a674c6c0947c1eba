import { drawTokenNoise, initMvar, mvarConfig, mvarSampler, quantizerConfig, type MvarParams } from '@atelier/mvar';
import { Rng, tf, type Tree } from '@atelier/tensor';
import { moved } from '../trees.ts';
import { only, samples, type Repetition } from './repeated.ts';
import { stage } from './stage.ts';

const network = { ladder: [1, 2, 4, 8], width: 16, depth: 1, heads: 2, refineStep: 2, kernelSize: 3, codes: 16 };

/** Guided samples of two classes with filters, in MVAR's windows. */
function sampler(): Repetition {
  const config = mvarConfig.parse({ ...network, latentChannels: 3, numClasses: 2 });
  const coding = quantizerConfig.parse({ ladder: network.ladder, codes: network.codes, channels: 3, ratio: 0 });
  const rng = new Rng('memory mvar');
  const params = tf.tidy(() => moved(initMvar(rng.child('init'), config) as unknown as Tree, rng, 0.1) as never) as MvarParams;
  const codes = { embedding: { weight: rng.child('codes').normal([network.codes, 3]) } };
  const y = tf.tensor1d([0, 1], 'int32');
  const one = mvarSampler(config, coding);
  return (index) => {
    const noise = drawTokenNoise(rng.child(index), 2, config);
    const made = one.sample({ params, codes, y }, noise, { guidance: 1.5, topK: 8, topP: 0.96 });
    noise.dispose();
    return only(made, 'latents');
  };
}

const figures = (kind: 'var' | 'concat' | 'mixed') => (steps: number) => ({
  parts: ['figures'],
  figures: {
    ...network,
    kinds: [kind],
    images: 256,
    validation: 16,
    samples: 16,
    batch: 2,
    repeats: 1,
    windows: [],
    histories: [],
    iterations: steps,
    mixedIterations: steps,
  },
});

/** The tokenizer is trained on MNIST, in two stages. */
const images =
  (steps: { plainSteps: number } | { plainSteps: number; steps: number }) =>
  (more = {}) => ({
    parts: ['images'],
    images: {
      ...network,
      ...more,
      images: 64,
      validation: 32,
      samples: 32,
      classifier: { steps: 20, batch: 16 },
      tokenizer: { latentChannels: 4, width: 4, multipliers: [1, 1, 1], groups: 2, batch: 1, ...steps },
    },
  });

export const mvar = {
  mvar: stage({ experiment: 'mvar', stage: 'figures-concat-1', config: figures('concat') }),
  'mvar-mixed': stage({ experiment: 'mvar', stage: 'figures-mixed-1', config: figures('mixed') }),
  var: stage({ experiment: 'mvar', stage: 'figures-var-1', config: figures('var') }),
  'mvar-autoencoder': stage({ experiment: 'mvar', stage: 'autoencoder', config: (plainSteps) => images({ plainSteps })() }),
  'mvar-tokenizer': stage({ experiment: 'mvar', stage: 'tokenizer', config: (steps) => images({ plainSteps: 20, steps })() }),
  'mvar-sampler': samples(sampler),
};
