import {
  epsilonParameterization,
  initPointNetwork,
  parsePointNetwork,
  pointNetwork,
  sidSampler,
  type PointNetworkParams,
} from '@atelier/sid';
import { Rng, tf } from '@atelier/tensor';
import { moved } from '../trees.ts';
import { samples, type Repetition } from './repeated.ts';
import { stage } from './stage.ts';

const network = { width: 16, depth: 1 };
const teacher = { steps: 40, batch: 16 };
const points = { ...network, teacher, repeats: 1, samples: 64, watch: [], alphas: [], baseline: false, unstable: false, teacherSteps: 6 };

/** Samples of the generator's chain in four steps. */
function sampler(): Repetition {
  const config = parsePointNetwork(network);
  const rng = new Rng('memory sid');
  const params = tf.tidy(() => moved(initPointNetwork(rng.child('init'), config), rng, 0.05));
  const parameterization = epsilonParameterization();
  const one = sidSampler((weights: PointNetworkParams) => pointNetwork(weights, config), { parameterization });
  return (index) => {
    const own = rng.child(index);
    const z = own.child('start').normal([8, 2]);
    const x = one.sample(params, z, { levels: parameterization.levels(4), noise: (i) => own.child(i).normal([8, 2]) });
    z.dispose();
    return x;
  };
}

export const sid = {
  'sid-teacher': stage({
    experiment: 'sid',
    stage: 'ring8-teacher',
    config: (steps) => ({ parts: ['points'], points: { ...points, densities: ['ring8'], teacher: { steps, batch: 16 } } }),
  }),
  sid: stage({
    experiment: 'sid',
    stage: 'ring8-sid-4',
    config: (steps) => ({ parts: ['points'], points: { ...points, densities: ['ring8'], steps: [4], distill: { steps, batch: 16 } } }),
  }),
  'sid-adversarial': stage({
    experiment: 'sid',
    stage: 'guidance-zero-gan',
    config: (steps) => ({
      parts: ['guidance'],
      guidance: { ...network, teacher, variants: ['zero-gan'], repeats: 1, samples: 64, distill: { steps, batch: 16 } },
    }),
  }),
  'sid-images': stage({
    experiment: 'sid',
    stage: 'image-zero-gan-2',
    config: (steps) => ({
      parts: ['images'],
      images: {
        data: 'shapes',
        drawn: 200,
        network: { channels: 8, channelMult: [1] },
        teacher: { steps: 20, batch: 2 },
        distill: { steps, batch: 2 },
        steps: [2],
        students: ['zero-gan'],
        classifier: { steps: 20 },
        samples: 64,
        teacherSteps: 4,
      },
    }),
  }),
  'sid-sampler': samples(sampler),
};
