import { figures, slice, type ImageSet } from '@atelier/datasets';
import { frechetDistanceOfGaussians, gaussianMoments } from '@atelier/metrics';
import {
  attentionMacs,
  attentionMass,
  cacheBytes,
  dctImages,
  dctLatents,
  fitCodebook,
  quantizerConfig,
  tokenCount,
  trainingGroups,
  visiblePairCount,
  type AttentionMass,
  type DctSettings,
  type MvarParams,
} from '@atelier/mvar';
import { disposeTree, tf, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { imagesOf } from '../src/data/images.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import type { Config, Figures } from './config.ts';
import { trainingPeak } from './costs.ts';
import { costPicture, massPictures, neighborhoodPicture, samplePicture, scalePicture } from './pictures.ts';
import { drawLatents } from './sampling.ts';
import { batchOf, tokenSet, type TokenSet } from './token-set.ts';
import { model, tokensPerIteration, trainModel, validate, type Model } from './training.ts';

const SIDE = 32;
const BLOCK = { block: 4, coefficients: 8 };
/** Channels of the latents of figures. */
export const FIGURE_CHANNELS = BLOCK.coefficients;
/** How many images the codebook is made from. */
const FITTED = 256;
/** How many random directions latents are projected on to compare them. */
const DIRECTIONS = 64;

export interface FigureFindings {
  readonly models: readonly Model[];
  /** By name of the model: nats per token on the validation set, one number for each repetition. */
  readonly ce: Readonly<Record<string, number[]>>;
  /** By name of the model, samples of the first repetition: Fréchet distance of their latents, and the share that is nearest to the mean of its own class. */
  readonly samples: Readonly<Record<string, { distance: number; share: number }>>;
  /** The same distance for true images of the training set: the best that samples can reach. */
  readonly floor: number;
  /** Bytes that a training iteration needs by the plan of its graph: VAR (`causal`), and MVAR one group at a time (`markov`). */
  readonly memory?: { causal: number; markov: number };
  /** Attention of the last scale in a trained VAR: the share that stays in this scale (`own`), and of this, the share within 5 × 5 tokens (`near`). */
  readonly mass?: { own: number; near: number };
}

/** Trains VAR and MVAR on the same tokens of drawn figures, from the same weights and batches, and compares them. */
export async function runFigures(context: RunContext<Config>): Promise<FigureFindings> {
  const { figures: config } = context.config;
  const rng = context.rng.child('figures');
  const [train, held] = [
    figures(rng.child('train'), config.images, SIDE),
    figures(rng.child('held'), config.validation + config.samples, SIDE),
  ];
  const { dct, codes, set, validation, reference } = await tokens(rng, config, train, held);
  const tokenizer = await context.stage('tokenizer', () => tokenizerQuality(validation, held, dct));
  context.note(`tokenizer: relative error ${tokenizer.error.toFixed(3)} of the latents, ${tokenizer.used} of ${config.codes} codes used`);
  const models = figureModels(config, set.coding, train.classes);
  for (const one of models) context.note(`${one.label}: ${costText(one, config)}`);

  const memory = await context.stage('memory', () => {
    const [causal, markov] = (['var', 'mixed'] as const).map((kind) => trainingPeak(model(kind, config, { coding: set.coding, classes: train.classes }), set, config.batch)); // prettier-ignore
    return { causal: causal ?? 0, markov: markov ?? 0 };
  });
  const measure = latentMeasure(rng.child('directions'), reference, set);
  const { floor } = await context.stage('floor', () => ({ floor: measure.distance(set.latents.subarray(0, reference.latents.length)) }));
  const ce: Record<string, number[]> = {};
  const samples: Record<string, { distance: number; share: number }> = {};
  let mass: FigureFindings['mass'];
  const shown: { label: string; images: Float32Array }[] = [];
  for (let repeat = 0; repeat < config.repeats; repeat++)
    for (const one of models) {
      const name = `figures-${one.name}-${repeat + 1}`;
      const params = await trainModel(context, one, set, config, { name, rng: rng.child('networks').child(repeat) });
      const found = await context.stage(`validate-${name}`, () => ({ ce: validate(params, one, validation) }));
      (ce[one.name] ??= []).push(found.ce);
      context.note(`${one.label}, repetition ${repeat + 1}: ${found.ce.toFixed(4)} nats per token on images it has not seen`);
      if (repeat === 0 && one.name === one.kind) {
        const draw = (y: Int32Array, stream: Rng): Promise<Float32Array> => drawLatents(one, params, codes, set.coding, y, stream, config);
        samples[one.name] = await context.stage(`sample-${name}`, async () =>
          measure.score(await draw(reference.y, rng.child('samples')), reference.y),
        );
        shown.push({ label: one.label, images: toImages(await draw(gridClasses(train.classes), rng.child('grid')), set, dct) });
        if (one.kind === 'var') mass = await context.stage('attention-mass', async () => showMass(context, params, one, validation));
      }
      disposeTree(params as unknown as Tree);
    }
  await samplePicture(context, 'samples', shown, train, 'figures');
  await scalePicture(context, codes, set, (latents) => toImages(latents, set, dct));
  await neighborhoodPicture(context, models.find(({ kind }) => kind !== 'var')?.config);
  await costPicture(context);
  disposeTree(codes as unknown as Tree);
  return { models, ce, samples, floor, ...(memory.causal > 0 && { memory }), ...(mass && { mass }) };
}

/** All models to train: those in `kinds`, then MVAR with other windows and with other histories, each trained with all groups at once. */
export function figureModels(config: Figures, coding: TokenSet['coding'], classes: number): Model[] {
  const data = { coding, classes };
  const K = config.ladder.length;
  return [
    ...config.kinds.map((kind) => model(kind, config, data)),
    ...config.windows.map((kernelSize) =>
      model('concat', config, data, { name: `window-${kernelSize}`, label: `windows of ${kernelSize}`, settings: { kernelSize } }),
    ),
    ...config.histories.map((historyScales) =>
      model('concat', config, data, {
        name: `history-${historyScales}`,
        label: `history of ${historyScales}, no windows`,
        settings: { historyScales, refineStep: K, kernelSize: 1 },
      }),
    ),
  ];
}

function costText(one: Model, { batch, ratio }: Figures): string {
  const { config } = one;
  const longest = Math.max(...trainingGroups(config).map(({ first, end }) => tokenCount(config.ladder.slice(first, end))));
  return `${visiblePairCount(config)} pairs, ${(attentionMacs(config) / 1e6).toFixed(2)} M multiply-accumulates in attention, passes of up to ${longest} tokens, ${cacheBytes(config, batch, false)} bytes kept, ${tokensPerIteration(one, ratio).toFixed(1)} tokens an iteration and image`;
}

const latentsOf = (set: ImageSet, from: number, to: number, dct: DctSettings): Tensor => {
  const { x } = imagesOf(slice(set, from, to));
  return tf.tidy(() => dctLatents(tf.tensor4d(x, [to - from, SIDE, SIDE, 1]), dct));
};

/**
 * The tokenizer of figures: cosine coefficients, and a codebook from the first training images. Without `train`, these images are drawn again from
 * the same `rng` (that of the part `figures`), so a finished run can rebuild its tokenizer.
 */
export function figureCodes(rng: Rng, config: Figures, train = figures(rng.child('train'), FITTED, SIDE)) {
  const raw = latentsOf(train, 0, FITTED, { ...BLOCK, deviation: 1 });
  const deviation = Math.sqrt(tf.tidy(() => tf.moments(raw).variance.dataSync()[0]!));
  raw.dispose();
  const dct: DctSettings = { ...BLOCK, deviation };
  const coding = quantizerConfig.parse({ ladder: config.ladder, codes: config.codes, channels: BLOCK.coefficients, ratio: 0 });
  const some = latentsOf(train, 0, FITTED, dct);
  const codes = fitCodebook(some, coding, rng.child('codebook'));
  some.dispose();
  return { dct, coding, codes };
}

/** The tokenizer, and the tokens of all images. The held-out images are split into a validation set and a reference set that samples are compared with. */
async function tokens(rng: Rng, config: Figures, train: ImageSet, held: ImageSet) {
  const { dct, coding, codes } = figureCodes(rng, config, train);
  const make = (set: ImageSet, first: number, count: number): Promise<TokenSet> =>
    tokenSet(count, set.labels.slice(first, first + count), (from, to) => latentsOf(set, first + from, first + to, dct), codes, coding);
  return {
    dct,
    codes,
    set: await make(train, 0, config.images),
    validation: await make(held, 0, config.validation),
    reference: await make(held, config.validation, config.samples),
  };
}

/** How good the tokenizer is: the relative error of the latents that it reconstructs, and how many different codes are used. */
function tokenizerQuality(set: TokenSet, images: ImageSet, dct: DctSettings): { error: number; used: number } {
  const { x } = imagesOf(images, set.count);
  const exact = tf.tidy(() => dctLatents(tf.tensor4d(x, [set.count, SIDE, SIDE, 1]), dct).dataSync() as Float32Array);
  let [lost, whole] = [0, 0];
  exact.forEach((value, i) => {
    lost += (value - set.latents[i]!) ** 2;
    whole += value ** 2;
  });
  return { error: Math.sqrt(lost / whole), used: new Set(set.tokens).size };
}

/**
 * Measures for the latents of samples: the Fréchet distance from true images, after projection on random directions; and the share that is nearest to
 * the mean of its own class.
 */
function latentMeasure(rng: Rng, reference: TokenSet, train: TokenSet) {
  const size = reference.latents.length / reference.count;
  const directions = rng.normals(size * DIRECTIONS).map((value) => value / Math.sqrt(size));
  const moments = (latents: Float32Array) => {
    const projected = tf.tidy(() => tf.matMul(tf.tensor2d(latents, [latents.length / size, size]), tf.tensor2d(directions, [size, DIRECTIONS])).dataSync() as Float32Array); // prettier-ignore
    return gaussianMoments(projected, DIRECTIONS);
  };
  const wanted = moments(reference.latents);
  const distance = (latents: Float32Array): number => frechetDistanceOfGaussians(moments(latents), wanted);
  const classes = Math.max(...train.y) + 1;
  const means = Array.from({ length: classes }, () => new Float64Array(size));
  const counts = new Float64Array(classes);
  train.y.forEach((y, i) => {
    counts[y]!++;
    for (let k = 0; k < size; k++) means[y]![k]! += train.latents[i * size + k]!;
  });
  const nearest = (latents: Float32Array, i: number): number => {
    const distances = means.map((mean, y) => mean.reduce((sum, value, k) => sum + (value / counts[y]! - latents[i * size + k]!) ** 2, 0));
    return distances.indexOf(Math.min(...distances));
  };
  return {
    distance,
    score: (latents: Float32Array, y: Int32Array) => ({
      distance: distance(latents),
      share: y.reduce((sum, label, i) => sum + (nearest(latents, i) === label ? 1 : 0), 0) / y.length,
    }),
  };
}

/** The classes of a picture with eight samples of each class. */
const gridClasses = (classes: number): Int32Array => Int32Array.from({ length: 8 * classes }, (_, i) => Math.floor(i / 8));

const toImages = (latents: Float32Array, { coding }: TokenSet, dct: DctSettings): Float32Array => {
  const side = coding.ladder.at(-1)!;
  return tf.tidy(() => dctImages(tf.tensor4d(latents, [latents.length / (side * side * coding.channels), side, side, coding.channels]), dct).dataSync() as Float32Array); // prettier-ignore
};

/** Measures where the attention of a trained VAR goes, and draws it. */
async function showMass(
  context: RunContext<Config>,
  params: MvarParams,
  one: Model,
  set: TokenSet,
): Promise<{ own: number; near: number }> {
  const {
    inputs: x,
    y,
    tokens: targets,
  } = batchOf(
    set,
    Int32Array.from({ length: Math.min(32, set.count) }, (_, i) => i),
  );
  const mass: AttentionMass = attentionMass(params, { x, y }, one.config);
  tf.dispose([x, y, targets]);
  await massPictures(context, mass, one.config.ladder);
  const own = mass.byScale.at(-1)!.at(-1)!;
  const near = mass.byWindow.find(({ side }) => side === 5)?.share ?? 1;
  context.note(
    `VAR: ${(100 * own).toFixed(1)} % of the attention of the last scale stays in it, ${(100 * near).toFixed(1)} % of that within 5 x 5 tokens`,
  );
  return { own, near };
}
