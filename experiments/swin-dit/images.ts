import { batches, imageSize, type ImageSet } from '@atelier/datasets';
import {
  CONV_FEATURES,
  convFeatures,
  frechetDistanceOfGaussians,
  gaussianMoments,
  initConvFeatures,
  type GaussianMoments,
} from '@atelier/metrics';
import type { SwinDiTParams } from '@atelier/swin-dit';
import { disposeTree, tf, type Rng, type Tree } from '@atelier/tensor';
import type { RunContext } from '../src/runner/experiment.ts';
import { imagesOf, loadImages, placeOf } from '../src/data/images.ts';
import { imageGrid } from '../src/pictures/image-grid.ts';
import { analyseAttention, type AttentionFindings } from './attention.ts';
import type { Config, Images } from './config.ts';
import { model, type Model } from './models.ts';
import { drawSamples, type Sampling } from './sampling.ts';
import { trainDenoiser } from './training.ts';

export interface ImageFindings {
  readonly models: readonly Model[];
  /** Fréchet distance of samples from true images in 96 fixed random features, by model. */
  readonly distances: Readonly<Record<string, number>>;
  /** The same of other true images. */
  readonly floor: number;
  /** Where the attention of DiT goes, if it was trained. */
  readonly attention?: AttentionFindings;
}

const SAMPLE_BATCH = 64;
const COLUMNS = 10;

/** Trains the models on images with classes, compares their samples with true images, draws them, and looks at where the attention of DiT goes. */
export async function runImages(context: RunContext<Config>): Promise<ImageFindings> {
  const { images: config } = context.config;
  const rng = context.rng.child('images');
  const { train: set, reference, second } = await loadImages(config, rng.child('data'), 'swin-dit');
  const { patchSize, width, depth, heads, window, kernel, learnSigma } = config.network;
  const dit = { inChannels: set.channels, patchSize, width, depth, heads, numClasses: set.classes, learnSigma };
  const grid: [number, number] = [set.height / patchSize, set.width / patchSize];
  const models = config.models.map((name) => model(name, { dit, grid, window, kernel }));
  context.note(`${set.count} images of ${set.name}, ${set.height} x ${set.width}, ${grid.join(' x ')} tokens`);
  for (const { label, parameters, blockMacs } of models)
    context.note(`${label}: ${parameters} parameters, ${(blockMacs / 1e6).toFixed(1)} M multiply-accumulates in its blocks`);

  const features = initConvFeatures(rng.child('features'), set.channels);
  const moments = async (images: Float32Array): Promise<GaussianMoments> =>
    gaussianMoments(await convFeatures(features, images, set.height, set.width), CONV_FEATURES);
  let truth: GaussianMoments | undefined;
  const distance = async (images: Float32Array): Promise<number> =>
    frechetDistanceOfGaussians(await moments(images), (truth ??= await moments(imagesOf(reference, config.samples).x)));
  const { floor } = await context.stage('image-floor', async () => ({ floor: await distance(imagesOf(second, config.samples).x) }));

  const start = {
    z: rng.child('start').normals(config.samples * imageSize(set)),
    y: imagesOf(reference, config.samples).y,
    shape: [set.height, set.width, set.channels] as const,
  };
  const sampling = { sampler: config.sampler, steps: config.samplingSteps, clip: true, batch: SAMPLE_BATCH, signal: context.signal };
  const distances: Record<string, number> = {};
  let attention: AttentionFindings | undefined;
  for (const one of models) {
    const params = await train(context, one, set, config, rng);
    const { distance: found } = await context.stage(`evaluate-image-${one.name}`, async () => ({
      distance: await distance(await drawSamples(one, params, start, rng.child('sample noise'), { ...sampling, guidance: 1 })),
    }));
    distances[one.name] = found;
    context.note(`${one.label}: Fréchet distance ${found.toPrecision(3)}; ${floor.toPrecision(2)} between true images`);
    await context.figure(
      `samples-${one.name}`,
      await classGrid(one, params, set, rng, { ...sampling, guidance: config.guidance }),
      `${config.samplingSteps} steps of ${config.sampler.toUpperCase()}, guidance ${config.guidance}, not selected.`,
    );
    if (one.name === 'dit') attention = await analyseAttention(context, one, params, set);
    disposeTree(params as Tree);
  }
  return { models, distances, floor, ...(attention && { attention }) };
}

async function train(context: RunContext<Config>, one: Model, set: ImageSet, config: Images, rng: Rng): Promise<SwinDiTParams> {
  const { training, classDrop, watch } = config;
  const cursor = batches(set, training.batch, rng.child('order'));
  const shape = [training.batch, set.height, set.width, set.channels];
  const sampling = { sampler: config.sampler, steps: config.samplingSteps, guidance: config.guidance, clip: true, batch: SAMPLE_BATCH };
  const { average } = await trainDenoiser({
    context,
    model: one,
    name: `image-${one.name}`,
    settings: training,
    rng: rng.child('networks'),
    cursor: placeOf(cursor),
    classDrop,
    data() {
      const { x, y } = cursor.next();
      return { x0: tf.tensor(x, shape), y: tf.tensor1d(y, 'int32') };
    },
    watch: {
      every: watch,
      show: async (params, step) => context.samples(one.name, step, await classGrid(one, params, set, rng, sampling)),
    },
  });
  return average;
}

/** One row a class, ten samples each, from starts that `rng` alone decides. */
async function classGrid(one: Model, params: SwinDiTParams, set: ImageSet, rng: Rng, sampling: Sampling) {
  const y = Int32Array.from({ length: COLUMNS * set.classes }, (_, i) => Math.floor(i / COLUMNS));
  const own = rng.child('class grid');
  const start = { z: own.child('start').normals(y.length * imageSize(set)), y, shape: [set.height, set.width, set.channels] as const };
  const data = await drawSamples(one, params, start, own.child('noise'), sampling);
  const shape = [y.length, ...start.shape];
  return imageGrid(
    { dtype: 'float32', shape, data },
    { title: one.label, columns: COLUMNS, rowLabels: set.classNames, tile: set.width <= 16 ? 32 : 42 },
  );
}
