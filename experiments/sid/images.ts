import { imageSize, type ImageSet } from '@atelier/datasets';
import { frechetDistanceOfGaussians, gaussianMoments, classShare, precisionRecall } from '@atelier/metrics';
import {
  initSongUNet,
  parameterCount,
  parseSongUNetConfig,
  songUNetParameters,
  type SongUNetConfig,
  type SongUNetParams,
} from '@atelier/nn';
import { karrasSigmas } from '@atelier/diffusion';
import { adversarialSettings, edmParameterization, guidanceScales, unetCritic, unetNetwork } from '@atelier/sid';
import { disposeTree } from '@atelier/tensor';
import { imageBatches, imagesOf, loadImages, type ImageData, type ImageFacts } from '../src/data/images.ts';
import { CLASSIFIER_FEATURES, trainJudge, type Judge } from '../src/evaluation/classifier.ts';
import { floats, labels } from '../src/evaluation/in-batches.ts';
import { imageRows, tileOf, type ImageRow } from '../src/pictures/image-rows.ts';
import { lineChart } from '../src/pictures/line-chart.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import type { Config, Images, StudentName } from './config.ts';
import { distill, drawChain, trainTeacher, type Networks, type Variant } from './distill.ts';
import { colorOf } from './methods.ts';

/** Fréchet distance, precision and recall in the judge's features, and the share of samples in their class. */
export type ImageScore = { readonly frechet: number; readonly precision: number; readonly recall: number; readonly share: number };

const SAMPLE_BATCH = 256;
const COLUMNS = 20;

/** Trains a teacher with classes on images, distils it in every way that the configuration names, judges the samples and draws them. */
export async function runImages(context: RunContext<Config>): Promise<void> {
  const { images: config } = context.config;
  const rng = context.rng.child('images');
  const data = await loadImages(config, rng.child('data'), 'sid');
  const { networks, parameters } = imageNetworks(config, data.train);
  const ground = { context, ...networks };
  context.note(`${data.train.count} images of ${config.data}, ${data.train.height} x ${data.train.width}; ${parameters} parameters`);
  const judge = await trainJudge(context, data, config.classifier);
  const asked = imagesOf(data.reference, config.samples).y;
  const score = await scorer(judge, data);
  const z = floats(rng.child('evaluation').normals(config.samples * imageSize(data.train)), ...ground.shape);
  const shown = shownOf(data.train, rng.child('pictures').normals(COLUMNS * imageSize(data.train)), ground.shape);
  const teacher = await trainTeacher(ground, 'image-teacher', config.teacher, {
    source: imageBatches(data.train, config.teacher.batch, rng.child('order')),
    rng: rng.child('teacher'),
    classDrop: config.classDrop,
  });
  const draw = (params: SongUNetParams, levels: readonly number[], given: typeof shown, noise: 'fresh' | 'ddim') =>
    drawChain(ground, params, levels, given, { noise, rng: rng.child('chain'), batch: SAMPLE_BATCH });
  const many = karrasSigmas(config.teacherSteps).slice(0, -1);
  const scores: Record<string, ImageScore> = {};
  const rows: ImageRow[] = [];
  const judged = async (
    name: string,
    label: string,
    params: SongUNetParams,
    levels: readonly number[],
    noise: 'fresh' | 'ddim',
  ): Promise<void> => {
    scores[name] = await context.stage(`image-score-${name}`, async () =>
      score((await draw(params, levels, { z, y: labels(asked) }, noise)).at(-1)!, asked),
    );
    rows.push({ label, images: (await draw(params, levels, shown, noise)).at(-1)! });
    context.note(`${label}: ${scoreText(scores[name]!)}`);
  };
  await judged('teacher', `teacher, ${config.teacherSteps} steps`, teacher, many, 'ddim');
  for (const steps of config.steps)
    await judged(`teacher-${steps}`, `teacher, ${steps} of its chain`, teacher, ground.parameterization.levels(steps), 'fresh');
  scores['data'] = await context.stage('image-score-data', async () => {
    const { x, y } = imagesOf(data.second, config.samples);
    return score(x, y);
  });

  for (const variant of variantsOf(config)) {
    const students = variant.adversarial && { source: imageBatches(data.train, config.distill.batch, rng.child(`real ${variant.name}`)) };
    const generator = await distill(ground, teacher, { ...variant, name: `image-${variant.name}` }, config.distill, {
      rng: rng.child('students'),
      ...students,
    });
    await judged(
      variant.name,
      `${variant.label}, ${variant.steps} ${variant.steps === 1 ? 'step' : 'steps'}`,
      generator,
      ground.parameterization.levels(variant.steps),
      'fresh',
    );
    disposeTree(generator);
  }
  await drawFindings(context, data.train, rows, scores);
  await claimImages(context, config, scores);
  judge.dispose();
  disposeTree(teacher);
}

/** The U-Net of a configuration for images. */
export function imageNetworks({ network }: Images, set: ImageFacts): { networks: Networks<SongUNetParams>; parameters: number } {
  const config: SongUNetConfig = parseSongUNetConfig(
    { ...network, resolution: set.height, inChannels: set.channels, outChannels: set.channels, numClasses: set.classes },
    'sid: images.network',
  );
  const networks: Networks<SongUNetParams> = {
    parameterization: edmParameterization(),
    init: (rng) => initSongUNet(rng, config),
    network: (params) => unetNetwork(params, config),
    critic: (params) => unetCritic(params, config),
    shape: [set.height, set.width, set.channels],
    classes: set.classes,
  };
  return { networks, parameters: parameterCount(songUNetParameters(config)) };
}

type Named = Variant & { label: string };

/** The students of a configuration. */
export function variantsOf({ steps, students, scale }: Images): Named[] {
  const most = Math.max(...steps);
  const adversarial = adversarialSettings.sida;
  const kinds: Record<StudentName, Pick<Named, 'label' | 'guidance' | 'adversarial'>> = {
    none: { label: 'SiD', guidance: guidanceScales.none },
    'none-gan': { label: 'SiDA', guidance: guidanceScales.none, adversarial },
    lsg: { label: `SiD, CFG ${scale}`, guidance: guidanceScales.lsg(scale) },
    zero: { label: 'SiD, Zero-CFG', guidance: guidanceScales.zero },
    'zero-gan': { label: 'SiDA, Zero-CFG', guidance: guidanceScales.zero, adversarial },
    anti: { label: 'SiD, Anti-CFG', guidance: guidanceScales.anti() },
    'anti-gan': { label: 'SiDA, Anti-CFG', guidance: guidanceScales.anti(), adversarial },
  };
  return students.flatMap((name) =>
    (name === 'none' ? steps : [most]).map((count) => ({ ...kinds[name], name: `${name}-${count}`, steps: count })),
  );
}

/** Compares samples made for the classes `asked` with the reference images. */
async function scorer(judge: Judge, { reference }: ImageData): Promise<(images: Float32Array, asked: Int32Array) => Promise<ImageScore>> {
  const wanted = await judge.look(imagesOf(reference).x);
  const moments = gaussianMoments(wanted.features, CLASSIFIER_FEATURES);
  return async (images, asked) => {
    const { features, classes } = await judge.look(images);
    const { precision, recall } = precisionRecall(wanted.features, features, CLASSIFIER_FEATURES);
    return {
      frechet: frechetDistanceOfGaussians(gaussianMoments(features, CLASSIFIER_FEATURES), moments),
      precision,
      recall,
      share: classShare(classes, asked),
    };
  };
}

const scoreText = ({ frechet, precision, recall, share }: ImageScore): string =>
  `Fréchet distance ${frechet.toPrecision(3)}, precision ${precision.toFixed(3)}, recall ${recall.toFixed(3)}, ${(100 * share).toFixed(1)} % in their class`;

function shownOf(set: ImageSet, noise: Float32Array, shape: readonly number[]) {
  const y = Int32Array.from({ length: COLUMNS }, (_, i) => Math.floor((i * set.classes) / COLUMNS));
  return { z: floats(noise, ...shape), y: labels(y) };
}

async function drawFindings(
  context: RunContext<Config>,
  set: ImageSet,
  rows: readonly ImageRow[],
  scores: Readonly<Record<string, ImageScore>>,
): Promise<void> {
  const title = `${set.name.replace(/ .*/, '')}: from the same noise`;
  await context.figure(
    'images',
    imageRows(rows, set, { title, tile: tileOf(set) }),
    'Every column starts from the same noise and asks for the same class.',
  );
  const points = Object.entries(scores).filter(([name]) => !/^teacher-/.test(name));
  await context.figure(
    'agreement',
    lineChart(
      points.map(([name, { share, recall }]) => ({ name, color: colorOf('image', name), points: [[recall, share]] as const })),
      { title: 'agreement with the class against diversity', x: 'recall', y: 'share of samples in their class', dots: true },
    ),
    'One mark a student.',
  );
}

async function claimImages(context: RunContext<Config>, { steps }: Images, scores: Readonly<Record<string, ImageScore>>): Promise<void> {
  const most = Math.max(...steps);
  const against = (name: string, other: string): [number, string] => {
    const [a, b] = [scores[name]!.frechet, scores[other]!.frechet];
    return [a / b, `${a.toPrecision(3)} against ${b.toPrecision(3)}; true images ${scores['data']!.frechet.toPrecision(2)}`];
  };
  if (scores[`none-${most}`]) await context.claim('images-four-steps', ...against(`none-${most}`, 'teacher'));
  if (scores['none-1']) await context.claim('images-one-step', ...against('none-1', 'teacher-1'));
  if (scores[`none-gan-${most}`]) await context.claim('images-beats-teacher', ...against(`none-gan-${most}`, 'teacher'));
}
