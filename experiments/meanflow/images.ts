import { imageSize } from '@atelier/datasets';
import { disposeTree, type Rng } from '@atelier/tensor';
import { imageBatches, imagesOf, loadImages, type ImageData } from '../src/data/images.ts';
import { trainJudge, type Judge } from '../src/evaluation/classifier.ts';
import { floorScores, imageMeasure, scoreText, type ImageMeasure, type ImageScores } from '../src/evaluation/image-scores.ts';
import { floats, labels } from '../src/evaluation/in-batches.ts';
import { classGrid } from '../src/pictures/image-rows.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import { compareMethods, scoreTangents, scoreVariant, type BySteps, type Ground } from './comparison.ts';
import type { Config, TangentName } from './config.ts';
import { drawFindings, samplesOf } from './image-pictures.ts';
import { imageNetwork, type ImageNetwork, type ImageParams } from './networks.ts';

/** What the part on images found; `guided` and `tangents` in the order of the configuration. */
export interface ImageFindings {
  readonly accuracy: number;
  readonly floor: ImageScores;
  readonly flowMatching: BySteps<ImageScores>;
  readonly meanFlow: BySteps<ImageScores>;
  readonly guided: readonly { omega: number; kappa: number; scores: BySteps<ImageScores> }[];
  readonly tangents: readonly { name: TangentName; scores: BySteps<ImageScores> }[];
  readonly msPerStep: { readonly flowMatching: number; readonly meanFlow: number };
}

const SAMPLE_BATCH = 256;
/** Steps of flow matching in the pictures drawn while it trains. */
const WATCH_STEPS = 8;

/** Trains flow matching and MeanFlow (right, guided and wrong) on images with classes, judges the samples and draws them. */
export async function runImages(context: RunContext<Config>): Promise<ImageFindings> {
  const { images: config, seed } = context.config;
  const rng = context.rng.child('images');
  const data = await loadImages(config, rng.child('data'), 'meanflow');
  const { count, height, width, name } = data.train;
  const network = imageNetwork(config, data.train);
  context.note(`${count} images of ${name.replace(/ .*/, '')}, ${height} x ${width}; ${network.parameters} parameters; seed ${seed}`);

  const judge = await trainJudge(context, data, config.classifier);
  const measure = measureBy(judge, data, rng.child('measure'));
  const floor = await context.stage('image-floor', async () => floorScores(await measure(), data));

  const ground = groundOf(context, network, data, measure);
  const { meanFlow, flowMatching } = await compareMethods(ground);
  const guided: ImageFindings['guided'][number][] = [];
  for (const { omega, kappa } of config.guidance) {
    const scores = await scoreVariant(ground, { name: `guided-omega-${omega}-kappa-${kappa}`, guidance: { omega, kappa } });
    guided.push({ omega, kappa, scores });
  }
  const tangents = await scoreTangents(ground, config.tangents);
  await drawFindings(ground, data.reference, { meanFlow, flowMatching, floor });
  judge.dispose();
  disposeTree([meanFlow.params, flowMatching.params]);
  return {
    accuracy: judge.accuracy,
    floor,
    flowMatching: flowMatching.scores,
    meanFlow: meanFlow.scores,
    guided,
    tangents,
    msPerStep: { flowMatching: flowMatching.msPerStep, meanFlow: meanFlow.msPerStep },
  };
}

/** The measure of samples, made when it is first needed: a resumed run may have all its scores already. */
function measureBy(judge: Judge, { reference }: ImageData, rng: Rng): () => Promise<ImageMeasure> {
  let made: Promise<ImageMeasure> | undefined;
  return () => (made ??= imageMeasure(reference, judge, rng));
}

function groundOf(
  context: RunContext<Config>,
  network: ImageNetwork,
  { train: set, reference }: ImageData,
  measure: () => Promise<ImageMeasure>,
): Ground<ImageParams, ImageScores> {
  const { images: config } = context.config;
  const rng = context.rng.child('images');
  const asked = imagesOf(reference, config.samples).y;
  return {
    context,
    network,
    settings: config.training,
    rng: rng.child('networks'),
    classes: { count: set.classes, drop: config.classDrop },
    nameOf: (variant) => variant,
    data() {
      const { next, cursor } = imageBatches(set, config.training.batch, rng.child('order'));
      return { data: next, cursor };
    },
    watch: (name, method) => ({
      every: config.watch,
      async show(params, step) {
        const steps = method === 'jumps' ? 1 : WATCH_STEPS;
        const title = `${name}, step ${step}: ${steps} ${steps === 1 ? 'evaluation' : 'evaluations'} per sample`;
        const draw = samplesOf(network, params, { steps, method }, set, rng);
        await context.samples(name, step, await classGrid(set, title, draw));
      },
    }),
    noise: {
      e: floats(rng.child('evaluation').normals(config.samples * imageSize(set)), set.height, set.width, set.channels),
      y: labels(asked),
    },
    sampleBatch: SAMPLE_BATCH,
    manySteps: config.manySteps,
    score: async (samples) => (await measure()).score(samples, asked),
    describe: (name, scores) =>
      Object.entries(scores).map(([steps, one]) => `${name}, ${steps} ${steps === '1' ? 'step' : 'steps'}: ${scoreText(one)}`),
  };
}
