import { everywhere, gsJacobiSampler } from '@atelier/gs-jacobi';
import { initTarFlow, sequentialSampler, tarflowConfig, tokenSizes } from '@atelier/tarflow';
import { Rng, tf, type Tensor } from '@atelier/tensor';
import { moved } from '../trees.ts';
import { samples, type Repetition } from './repeated.ts';
import { stage } from './stage.ts';

const network = { patchSize: 2, width: 16, headSize: 8, blocks: 2, layers: 1 };

/** Guided samples of two classes, with 16 tokens: token by token, or in two segments of at most four Jacobi iterations. */
function sampler(kind: 'sequential' | 'gs-jacobi'): Repetition {
  const settings = tarflowConfig.parse({ ...network, imageSize: 8, numClasses: 2 });
  const { T, D } = tokenSizes(settings);
  const rng = new Rng('memory tarflow');
  const model = tf.tidy(() => moved(initTarFlow(rng.child('init'), settings), rng, 0.02));
  const y = tf.tensor1d([0, 1], 'int32');
  const options = { y, guidance: { weight: 1 } };
  const strategy = everywhere(network.blocks, { method: 'gs-jacobi', segments: 2, iterations: 4, guess: 'z' });
  const [exact, jacobi] = [sequentialSampler(settings), gsJacobiSampler(settings)];
  const draw = (noise: Tensor): Tensor =>
    kind === 'sequential'
      ? exact.sample(model, noise, options).images
      : jacobi.sample(model, noise, { strategy, tolerance: 1e-6, ...options }).images;
  return (index) => {
    const noise = rng.child(index).normal([2, T, D]);
    const images = draw(noise);
    noise.dispose();
    return images;
  };
}

export const tarflow = {
  tarflow: stage({
    experiment: 'gs-jacobi',
    stage: 'tarflow',
    config: (steps) => ({ weights: 'train', side: 8, network, training: { steps, batch: 4, watch: 400 } }),
  }),
  'tarflow-sampler': samples(() => sampler('sequential')),
  'gs-jacobi-sampler': samples(() => sampler('gs-jacobi')),
};
