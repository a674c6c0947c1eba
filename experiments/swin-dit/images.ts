import { imageSize, type ImageSet } from '@atelier/datasets';
import type { SwinDiTParams } from '@atelier/swin-dit';
import { disposeTree, type Rng } from '@atelier/tensor';
import { imageBatches, imagesOf, loadImages } from '../src/data/images.ts';
import { convolutionDistance } from '../src/evaluation/feature-distance.ts';
import { floats, labels } from '../src/evaluation/in-batches.ts';
import { classGrid } from '../src/pictures/image-rows.ts';
import type { Picture, RunContext } from '../src/runner/experiment.ts';
import { analyseAttention, type AttentionFindings } from './attention.ts';
import type { Config, Images } from './config.ts';
import { imageModels, type Model } from './models.ts';
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

/** Trains the models on images with classes, compares their samples with true images, draws them, and looks at where the attention of DiT goes. */
export async function runImages(context: RunContext<Config>): Promise<ImageFindings> {
  const { images: config } = context.config;
  const rng = context.rng.child('images');
  const { train: set, reference, second } = await loadImages(config, rng.child('data'), 'swin-dit');
  const models = imageModels(config, set);
  const grid = models[0]!.settings.grid;
  context.note(`${set.count} images of ${set.name}, ${set.height} x ${set.width}, ${grid.join(' x ')} tokens`);
  for (const { label, parameters, blockMacs } of models)
    context.note(`${label}: ${parameters} parameters, ${(blockMacs / 1e6).toFixed(1)} M multiply-accumulates in its blocks`);

  const distance = convolutionDistance(rng.child('features'), set, () => imagesOf(reference, config.samples).x);
  const { floor } = await context.stage('image-floor', async () => ({ floor: await distance(imagesOf(second, config.samples).x) }));

  const start = {
    z: floats(rng.child('start').normals(config.samples * imageSize(set)), set.height, set.width, set.channels),
    y: labels(imagesOf(reference, config.samples).y),
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
      await drawClasses(one, params, set, rng, { ...sampling, guidance: config.guidance }),
      `${config.samplingSteps} steps of ${config.sampler.toUpperCase()}, guidance ${config.guidance}, not selected.`,
    );
    if (one.name === 'dit') attention = await analyseAttention(context, one, params, set);
    disposeTree(params);
  }
  return { models, distances, floor, ...(attention && { attention }) };
}

async function train(context: RunContext<Config>, one: Model, set: ImageSet, config: Images, rng: Rng): Promise<SwinDiTParams> {
  const { training, classDrop, watch, sampler, samplingSteps: steps, guidance } = config;
  const { next, cursor } = imageBatches(set, training.batch, rng.child('order'));
  const sampling = { sampler, steps, guidance, clip: true, batch: SAMPLE_BATCH };
  const { params } = await trainDenoiser({
    context,
    model: one,
    name: `image-${one.name}`,
    settings: training,
    rng: rng.child('networks'),
    data: next,
    cursor,
    classDrop,
    watch: {
      every: watch,
      show: async (params, step) => context.samples(one.name, step, await drawClasses(one, params, set, rng, sampling)),
    },
  });
  return params;
}

/** Samples of every class; their starting noise depends only on `rng`. */
function drawClasses(one: Model, params: SwinDiTParams, set: ImageSet, rng: Rng, sampling: Sampling): Promise<Picture> {
  const own = rng.child('class grid');
  return classGrid(set, one.label, (y) => {
    const z = floats(own.child('start').normals(y.length * imageSize(set)), set.height, set.width, set.channels);
    return drawSamples(one, params, { z, y: labels(y) }, own.child('noise'), sampling);
  });
}
