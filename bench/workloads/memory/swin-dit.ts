import { ddimSampler, ddpmSampler, diffusionTables, guidedNetwork, linearBetas, respace, stepNoise } from '@atelier/diffusion';
import { applySwinDiT, initSwinDiT, type SwinDiTParams, type SwinDiTSettings } from '@atelier/swin-dit';
import { Rng, tf, type Tensor } from '@atelier/tensor';
import { moved } from '../trees.ts';
import { samples, type Repetition } from './repeated.ts';
import { stage } from './stage.ts';

const sizes = { patchSize: 2, width: 16, depth: 2, heads: 2 };

/** Guided samples of two classes in five steps. */
function sampler(kind: 'ddim' | 'ddpm'): Repetition {
  const settings: SwinDiTSettings = {
    dit: { ...sizes, inChannels: 1, numClasses: 2, learnSigma: true },
    grid: [4, 4],
    window: 2,
    attention: 'pswa',
    pcca: { rho0: 1 / 4, rho1: 3 / 4 },
  };
  const rng = new Rng('memory swin-dit');
  const params = tf.tidy(() => moved(initSwinDiT(rng.child('init'), settings), rng, 0.05));
  const y = tf.tensor1d([0, 1], 'int32');
  const network = (x: Tensor, t: Tensor, model: { params: SwinDiTParams; y: Tensor }): Tensor =>
    guidedNetwork((images, times, labels) => applySwinDiT(model.params, images, { t: times, y: labels! }, settings), {
      scale: 1.5,
      channels: 'all',
      nullLabel: 2,
    })(x, t, model.y);
  const options = { variance: 'learned', clip: true } as const;
  const one = kind === 'ddim' ? ddimSampler(network, options) : ddpmSampler(network, options);
  const tables = respace(diffusionTables(linearBetas()), 5);
  return (index) => {
    const own = rng.child(index);
    const x = own.child('start').normal([2, 8, 8, 1]);
    const noise = kind === 'ddpm' ? { noise: stepNoise(own, x.shape) } : {};
    const drawn = one.sample({ params, y }, x, { tables, ...noise });
    x.dispose();
    return drawn;
  };
}

const images = { data: 'shapes', drawn: 200, samples: 64, samplingSteps: 4, analysed: 8, watch: 400 };

export const swinDit = {
  'swin-dit': stage({
    experiment: 'swin-dit',
    stage: 'image-pswa',
    config: (steps) => ({
      parts: ['images'],
      images: { ...images, models: ['pswa'], network: { ...sizes, window: 2, learnSigma: true }, training: { steps, batch: 4 } },
    }),
  }),
  'ddim-sampler': samples(() => sampler('ddim')),
  'ddpm-sampler': samples(() => sampler('ddpm')),
};
