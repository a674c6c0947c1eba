import { batches, imageSize, type ImageSet } from '@atelier/datasets';
import { initMeanFlowDiT, meanFlowDiT, wrongTangents } from '@atelier/meanflow';
import { ditConfig, ditParameterCount, type DiTParams } from '@atelier/nn';
import { disposeTree, parseConfig, tf, type Tree } from '@atelier/tensor';
import type { RunContext } from '../src/runner/experiment.ts';
import { imagesOf, loadImages, placeOf } from '../src/data/images.ts';
import { accuracy, makeJudge, trainClassifier } from './classifier.ts';
import type { Config, TangentName } from './config.ts';
import { distanceChart, type Distances } from './distance-chart.ts';
import { floorScores, imageMeasure, type ImageMeasure, type ImageScores } from './image-measures.ts';
import { classGrid, comparison } from './image-pictures.ts';
import { drawSamples, type Method } from './sampling.ts';
import { trainFlow, type Network, type Variant } from './training.ts';

/** Scores by number of steps. */
export type ScoresBySteps = { readonly [steps: string]: ImageScores };

/** What the part on images found; `guided` and `tangents` in the order of the configuration. */
export interface ImageFindings {
  readonly accuracy: number;
  readonly floor: ImageScores;
  readonly flowMatching: ScoresBySteps;
  readonly meanFlow: ScoresBySteps;
  readonly guided: readonly { omega: number; kappa: number; scores: ScoresBySteps }[];
  readonly tangents: readonly { name: TangentName; scores: ScoresBySteps }[];
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
  const set = data.train;
  const network = ditFor(config, set);
  const name = set.name.replace(/ .*/, '');
  context.note(`${set.count} images of ${name}, ${set.height} x ${set.width}; ${network.parameters} parameters; seed ${seed}`);

  const classifier = await trainClassifier(context, set, config.classifier);
  const judge = makeJudge(classifier, set);
  const right = await context.stage('classifier-accuracy', async () => ({ share: await accuracy(judge, data.reference) }));
  context.note(`the classifier is right on ${(100 * right.share).toFixed(2)} % of ${data.reference.count} images it has not seen`);

  let measure: ImageMeasure | undefined;
  const measured = async (): Promise<ImageMeasure> => (measure ??= await imageMeasure(data.reference, judge, rng.child('measure')));
  const floor = await context.stage('image-floor', async () => floorScores(await measured(), data));

  const noise = {
    e: rng.child('evaluation').normals(config.samples * imageSize(set)),
    y: imagesOf(data.reference, config.samples).y,
    shape: [set.height, set.width, set.channels],
  };
  const evaluate = (variant: string, params: DiTParams, method: Method, counts: readonly number[]): Promise<ScoresBySteps> =>
    context.stage(`evaluate-${variant}`, async () => {
      const scores: Record<string, ImageScores> = {};
      for (const steps of counts) {
        const samples = await drawSamples(network.apply, params, noise, { steps, method, batch: SAMPLE_BATCH, signal: context.signal });
        scores[steps] = await (await measured()).score(samples, noise.y);
        context.note(`${variant}, ${steps} ${steps === 1 ? 'step' : 'steps'}: ${scoreText(scores[steps])}`);
      }
      return scores;
    });

  const train = async (variant: Variant, method: Method): Promise<{ average: DiTParams; msPerStep: number }> => {
    const cursor = batches(set, config.training.batch, rng.child('order'));
    const shape = [config.training.batch, ...noise.shape];
    const watched = method === 'jumps' ? 1 : WATCH_STEPS;
    return trainFlow<DiTParams>({
      context,
      network,
      variant,
      settings: config.training,
      rng: rng.child('networks'),
      cursor: placeOf(cursor),
      classes: { count: set.classes, drop: config.classDrop },
      data() {
        const { x, y } = cursor.next();
        return { x: tf.tensor(x, shape), y: tf.tensor1d(y, 'int32') };
      },
      watch: {
        every: config.watch,
        async show(params, step) {
          const title = `${variant.name}, step ${step}: ${watched} ${watched === 1 ? 'evaluation' : 'evaluations'} a sample`;
          await context.samples(
            variant.name,
            step,
            await classGrid({ apply: network.apply, params, steps: watched, method }, set, rng, title),
          );
        },
      },
    });
  };
  /** Trains and evaluates a variant that is only compared by its numbers. */
  const score = async (variant: Variant): Promise<ScoresBySteps> => {
    const { average } = await train(variant, 'jumps');
    const scores = await evaluate(variant.name, average, 'jumps', [1]);
    disposeTree(average);
    return scores;
  };

  const { movingShare } = config.training;
  const mf = await train({ name: 'meanflow', movingShare }, 'jumps');
  const meanFlow = await evaluate('meanflow', mf.average, 'jumps', [1, 2, 4]);
  const fm = await train({ name: 'flow-matching', movingShare: 0 }, 'euler');
  const flowMatching = await evaluate('flow-matching', fm.average, 'euler', [1, 2, 4, config.manySteps]);
  const guided: ImageFindings['guided'][number][] = [];
  for (const { omega, kappa } of config.guidance) {
    const scores = await score({ name: `guided-omega-${omega}-kappa-${kappa}`, movingShare, guidance: { omega, kappa } });
    guided.push({ omega, kappa, scores });
  }
  const tangents: ImageFindings['tangents'][number][] = [];
  for (const name of config.tangents) {
    const scores = await score({ name: `image-tangent-${name.replaceAll(',', '')}`, movingShare, direction: wrongTangents[name] });
    tangents.push({ name, scores });
  }

  const rows = [
    { label: 'MeanFlow, 1 step', params: mf.average, steps: 1, method: 'jumps' },
    ...[1, 2, 4, config.manySteps].map((steps) => ({
      label: `flow matching, ${steps} ${steps === 1 ? 'step' : 'steps'}`,
      params: fm.average,
      steps,
      method: 'euler' as const,
    })),
  ] as const;
  const drawings = rows.map((row) => ({ ...row, apply: network.apply }));
  await context.figure(
    'comparison',
    await comparison(drawings, data.reference, rng, `${name}: one step of MeanFlow, and flow matching from the same noise`),
    'Every column starts from the same noise and asks for the same class; both networks have the same size and were trained on the same batches.',
  );
  await context.figure(
    'one-step',
    await classGrid(drawings[0]!, set, rng, `${name}: one evaluation of the network a sample`),
    'One-step samples of MeanFlow, not selected.',
  );
  const distances = (scores: ScoresBySteps): Distances =>
    Object.fromEntries(Object.entries(scores).map(([steps, one]) => [steps, one.features]));
  await context.figure(
    'distances',
    distanceChart(`${name}: Fréchet distance in random features`, {
      meanFlow: distances(meanFlow),
      flowMatching: distances(flowMatching),
      floor: floor.features,
    }),
    'The dashed line is the distance between two sets of true images.',
  );
  judge.dispose();
  disposeTree([mf.average, fm.average, classifier] as Tree[]);
  return {
    accuracy: right.share,
    floor,
    flowMatching,
    meanFlow,
    guided,
    tangents,
    msPerStep: { flowMatching: fm.msPerStep, meanFlow: mf.msPerStep },
  };
}

function ditFor({ network }: Config['images'], set: ImageSet): Network<DiTParams> & { parameters: number } {
  const settings = { ...network, inChannels: set.channels, numClasses: set.classes, interval: true };
  const config = parseConfig(ditConfig, settings, 'meanflow: images.network');
  return {
    parameters: ditParameterCount(config),
    init: (rng) => initMeanFlowDiT(rng, config),
    apply: (params) => meanFlowDiT(params, config),
  };
}

function scoreText({ pixels, features, classifier, share }: ImageScores): string {
  const distances = { pixels, features, 'classifier features': classifier };
  const parts = Object.entries(distances).flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${value.toPrecision(3)}`]));
  return `Fréchet distance of ${parts.join(', ')}; ${(100 * share).toFixed(1)} % in their class`;
}
