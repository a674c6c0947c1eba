import { adamW } from '@atelier/nn';
import { denoise, denoisingLoss, drawNoise, initDenoiser, leastError, type DenoiserParams } from '@atelier/__SLUG__';
import { tf, type Rng, type Tensor } from '@atelier/tensor';
import { lineChart } from '../src/pictures/line-chart.ts';
import { defineExperiment } from '../src/runner/experiment.ts';
import { schedulesOf } from '../src/training/optimization.ts';
import { trainNetwork } from '../src/training/train-network.ts';
import { claims } from './claims.ts';
import { configSchema, type Config } from './config.ts';
import { presets } from './presets.ts';

/** Trains the denoiser of a Gaussian and compares its error with the least possible one. */
export const __NAME__ = defineExperiment<Config>({
  name: '__SLUG__',
  paper: { slug: '__SLUG__', title: '__SLUG__: the title of the paper', arxiv: '0000.00000' },
  title: 'Denoising of points by linear maps (a template)',
  schema: configSchema,
  presets,
  claims,
  async run(context) {
    const { config, rng } = context;
    const { training } = config;
    const { params } = await trainNetwork({
      context,
      name: 'denoiser',
      steps: training.steps,
      rng: rng.child('steps'),
      optimizer: adamW(),
      ...schedulesOf(training),
      init: () => initDenoiser(rng.child('init'), config.denoiser),
      batch: (at) => ({ x: gaussian(at.child('data'), training.batch, config), ...drawNoise(at, training.batch, config.denoiser) }),
      loss: (at, batch) => ({ loss: denoisingLoss((z, k) => denoise(at, z, k), batch, config.denoiser) }),
    });
    const { ratios } = await context.stage('evaluate', () => ({ ratios: errorRatios(params, rng.child('evaluate'), config) }));
    await context.figure(
      'errors',
      lineChart([{ name: 'trained / least', points: ratios.map((ratio, k) => [k, ratio] as const) }]),
      'Error of the denoiser over the least possible one, by noise level',
    );
    const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
    await context.claim('least-error', mean, ratios.map((ratio) => ratio.toFixed(3)).join(', '));
    tf.dispose([params.weight, params.bias]);
  },
});

/** Variances of the coordinates: 1, 1/4, 1/9, … */
const variances = ({ denoiser }: Config): number[] => Array.from({ length: denoiser.dimension }, (_, i) => 1 / (i + 1) ** 2);

function gaussian(rng: Rng, count: number, config: Config): Tensor {
  const deviations = tf.tensor1d(variances(config).map(Math.sqrt));
  return tf.tidy(() => tf.mul(rng.normal([count, config.denoiser.dimension]), deviations));
}

/** The mean squared error at every noise level over the least possible one. */
function errorRatios(params: DenoiserParams, rng: Rng, config: Config): number[] {
  const { judged, denoiser } = config;
  return denoiser.sigmas.map((sigma, level) =>
    tf.tidy(() => {
      const at = rng.child(level);
      const batch = {
        x: gaussian(at.child('data'), judged, config),
        e: at.child('noise').normal([judged, denoiser.dimension]),
        k: tf.fill([judged], level, 'int32'),
      };
      const error = denoisingLoss((z, k) => denoise(params, z, k), batch, denoiser).dataSync()[0]!;
      return error / leastError(variances(config), sigma);
    }),
  );
}
