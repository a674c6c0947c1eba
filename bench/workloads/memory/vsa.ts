import { uniformGrid, velocitySampler } from '@atelier/diffusion';
import { Rng, tf, type Tensor } from '@atelier/tensor';
import { applyWan, initWan, vsaStages, type LayerMixer, type WanParams, type WanSettings } from '@atelier/vsa';
import { moved } from '../trees.ts';
import { samples, type Repetition } from './repeated.ts';
import { stage } from './stage.ts';

const network = { heads: 1, headDim: 12, ffnDim: 24, layers: 1 };

/** Samples in two Euler steps: videos of 4 × 8 × 8 tokens, each query tile attends to two of eight tiles. */
function sampler(): Repetition {
  const tile: [number, number, number] = [2, 4, 4];
  const settings: WanSettings = { ...network, inChannels: 1, patch: [1, 1, 1], tile, gate: true };
  const rng = new Rng('memory vsa');
  const params = tf.tidy(() => moved(initWan(rng.child('init'), settings), rng, 0.05));
  const mix: LayerMixer = ({ q, k, v, gate }, { grid }) => vsaStages(q, k, v, { grid, tile, keep: 2, gate: gate! }).out;
  const one = velocitySampler((weights: WanParams) => (z: Tensor, t: Tensor) => applyWan(weights, z, { t }, settings, mix));
  return (index) => {
    const noise = rng.child(index).normal([1, 4, 8, 8, 1]);
    const video = one.sample(params, noise, { grid: uniformGrid(2) });
    noise.dispose();
    return video;
  };
}

const dictionary = (variant: 'vsa' | 'full') => (steps: number) => ({
  parts: ['dictionary'],
  dictionary: { ...network, variants: [variant], training: { steps, batch: 1 }, watch: 400, judged: 1, sweep: [4], adaptation: 0 },
});

export const vsa = {
  vsa: stage({ experiment: 'vsa', stage: 'vsa', config: dictionary('vsa') }),
  'vsa-dense': stage({ experiment: 'vsa', stage: 'full', config: dictionary('full') }),
  'vsa-sampler': samples(sampler),
};
