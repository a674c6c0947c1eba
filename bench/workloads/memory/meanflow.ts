import { uniformGrid, velocitySampler } from '@atelier/diffusion';
import { initMeanFlowDiT, instantaneousVelocity, meanFlowDiT, meanFlowSampler } from '@atelier/meanflow';
import { ditConfig, type DiTParams } from '@atelier/nn';
import { Rng, tf } from '@atelier/tensor';
import { moved } from '../trees.ts';
import { samples, type Repetition } from './repeated.ts';
import { stage } from './stage.ts';

const images = { drawn: 200, classifier: { steps: 20 }, samples: 64, manySteps: 2, watch: 400 };
const network = { patchSize: 4, width: 16, depth: 1, heads: 2 };

/** Guided samples of four classes, by jumps or by Euler steps. */
function sampler(kind: 'jumps' | 'euler'): Repetition {
  const config = ditConfig.parse({ ...network, inChannels: 1, numClasses: 4, interval: true });
  const rng = new Rng('memory meanflow');
  const params = tf.tidy(() => moved(initMeanFlowDiT(rng.child('init'), config), rng, 0.05));
  const apply = (weights: DiTParams) => meanFlowDiT(weights, config);
  const y = tf.tensor1d([0, 1, 2, 3], 'int32');
  const one = kind === 'jumps' ? meanFlowSampler(apply) : velocitySampler((weights: DiTParams) => instantaneousVelocity(apply(weights)));
  return (index) => {
    const noise = rng.child(index).normal([4, 8, 8, 1]);
    const x = one.sample(params, noise, { grid: uniformGrid(kind === 'jumps' ? 2 : 4), y });
    noise.dispose();
    return x;
  };
}

export const meanflow = {
  meanflow: stage({
    experiment: 'meanflow',
    stage: 'meanflow',
    config: (steps) => ({ parts: ['images'], images: { ...images, network, training: { steps, batch: 8 } } }),
  }),
  'meanflow-guided': stage({
    experiment: 'meanflow',
    stage: 'guided-omega-1-kappa-0.5',
    config: (steps) => ({
      parts: ['images'],
      images: { ...images, network, guidance: [{ omega: 1, kappa: 0.5 }], training: { steps, batch: 8 } },
    }),
  }),
  'meanflow-unet': stage({
    experiment: 'meanflow',
    stage: 'meanflow',
    config: (steps) => ({
      parts: ['images'],
      images: { ...images, unet: { channels: 8, channelMult: [1], blocks: 1, attentionResolutions: [] }, training: { steps, batch: 2 } },
    }),
  }),
  'meanflow-sampler': samples(() => sampler('jumps')),
  'flow-sampler': samples(() => sampler('euler')),
};
