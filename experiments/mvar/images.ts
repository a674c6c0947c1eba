import { gather, type ImageSet } from '@atelier/datasets';
import {
  decodeLatents,
  encodeLatents,
  fitCodebook,
  initTokenizer,
  quantizerConfig,
  tokenizerLoss,
  type QuantizerConfig,
  type TokenizerParams,
  type TokenizerSettings,
} from '@atelier/mvar';
import { adamW, cosine, warmUp } from '@atelier/nn';
import { compile, disposeTree, tf, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { imageBatches, imagesOf, readImages } from '../src/data/images.ts';
import { trainJudge } from '../src/evaluation/classifier.ts';
import { imageMeasure, scoreText, type ImageScores } from '../src/evaluation/image-scores.ts';
import { inBatches, floats } from '../src/evaluation/in-batches.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import { trainNetwork } from '../src/training/train-network.ts';
import type { Config, Images } from './config.ts';
import { samplePicture, scalePicture } from './pictures.ts';
import { drawLatents } from './sampling.ts';
import { tokenSet } from './token-set.ts';
import { model, trainModel, validate } from './training.ts';

const SIDE = 32;

export interface ImageFindings {
  readonly scores: Readonly<Record<string, ImageScores[]>>;
}

/** Trains a tokenizer on images, then networks on its tokens, and compares their samples with true images. */
export async function runImages(context: RunContext<Config>): Promise<ImageFindings> {
  const { images: config } = context.config;
  const rng = context.rng.child('images');
  const [train, test] = [padded(await readImages(config.data, 'train')), padded(await readImages(config.data, 'test'))];
  const reference = first(test, config.samples);
  const judge = await trainJudge(context, { train, reference }, config.classifier);
  const measure = await imageMeasure(reference, judge, rng.child('measure'));

  const settings = tokenizerSettings(config, train);
  const tokenizer = await trainTokenizer(context, rng.child('tokenizer'), train, settings, config);
  const coding = quantizerConfig.parse(settings.quantizer);
  const latents = compile((p: Tree, x: Tensor) => encodeLatents(p as unknown as TokenizerParams, x, settings));
  const encode =
    (set: ImageSet) =>
    (from: number, to: number): Tensor => {
      const { x } = gather(
        set,
        Int32Array.from({ length: to - from }, (_, i) => from + i),
      );
      return latents(tokenizer as unknown as Tree, tf.tensor4d(x, [to - from, SIDE, SIDE, set.channels]));
    };
  const count = Math.min(config.images, train.count);
  const set = await tokenSet(count, train.labels.slice(0, count), encode(train), tokenizer.quantize, coding);
  const validation = await tokenSet(config.validation, test.labels.slice(0, config.validation), encode(test), tokenizer.quantize, coding);
  const toImages = decoder(tokenizer, settings, coding);
  await scalePicture(context, tokenizer.quantize, set, toImages.now);
  context.note(`${new Set(set.tokens).size} of ${config.codes} codes used`);
  const rebuilt = await context.stage('reconstruction', async () => measure.score(await toImages.all(validation.latents), validation.y));
  context.note(`reconstructed images: ${scoreText(rebuilt)}`);

  const scores: Record<string, ImageScores[]> = {};
  const shown: { label: string; images: Float32Array }[] = [];
  for (let repeat = 0; repeat < config.repeats; repeat++)
    for (const kind of config.kinds) {
      const one = model(kind, config, { coding, classes: train.classes });
      const name = `images-${kind}-${repeat + 1}`;
      const params = await trainModel(context, one, set, config, { name, rng: rng.child('networks').child(repeat) });
      const draw = async (y: Int32Array, stream: Rng): Promise<Float32Array> =>
        toImages.all(await drawLatents(one, params, tokenizer.quantize, coding, y, stream, config));
      const result = await context.stage(`score-${name}`, async () => ({
        ce: validate(params, one, validation),
        scores: (await measure.score(await draw(reference.labels, rng.child('samples')), reference.labels)) as ImageScores &
          Record<string, number>,
      }));
      (scores[kind] ??= []).push(result.scores);
      context.note(`${one.label}, repetition ${repeat + 1}: ${result.ce.toFixed(4)} nats per token; ${scoreText(result.scores)}`);
      const classes = Int32Array.from({ length: 8 * train.classes }, (_, i) => Math.floor(i / 8));
      if (repeat === 0) shown.push({ label: one.label, images: await draw(classes, rng.child('grid')) });
      disposeTree(params as unknown as Tree);
    }
  await samplePicture(context, 'image-samples', shown, train, config.data);
  latents.dispose();
  judge.dispose();
  toImages.dispose();
  disposeTree(tokenizer as unknown as Tree);
  return { scores };
}

/** Images in the middle of 32 × 32 pixels, black around. */
function padded(set: ImageSet): ImageSet {
  if (set.height === SIDE && set.width === SIDE) return set;
  const { height, width, channels, count } = set;
  const [top, left] = [Math.floor((SIDE - height) / 2), Math.floor((SIDE - width) / 2)];
  const pixels =
    set.pixels instanceof Uint8Array
      ? new Uint8Array(count * SIDE * SIDE * channels)
      : new Float32Array(count * SIDE * SIDE * channels).fill(-1);
  for (let n = 0; n < count; n++)
    for (let row = 0; row < height; row++) {
      const from = (n * height + row) * width * channels;
      pixels.set(set.pixels.subarray(from, from + width * channels), ((n * SIDE + top + row) * SIDE + left) * channels);
    }
  return { ...set, pixels, height: SIDE, width: SIDE };
}

/** The first images of a set. */
function first(set: ImageSet, count: number): ImageSet {
  const size = set.height * set.width * set.channels;
  return { ...set, count, pixels: set.pixels.slice(0, count * size), labels: set.labels.slice(0, count) };
}

/** The settings of the tokenizer that a configuration asks for. */
export function tokenizerSettings({ tokenizer: t, ladder, codes }: Images, { channels }: Pick<ImageSet, 'channels'>): TokenizerSettings {
  const { latentChannels, width, multipliers, blocks, groups } = t;
  return {
    autoencoder: { imageChannels: channels, latentChannels, width, multipliers, blocks, groups },
    quantizer: { ladder, codes, channels: latentChannels },
  };
}

/**
 * Trains a tokenizer in three parts: first the autoencoder without the quantizer; then a codebook by k-means on its latents, because a random
 * codebook leaves most codes unused; then everything together, with the quantizer's loss.
 */
async function trainTokenizer(
  context: RunContext<Config>,
  rng: Rng,
  train: ImageSet,
  settings: TokenizerSettings,
  { tokenizer: t }: Images,
): Promise<TokenizerParams> {
  const common = (steps: number) => ({
    context,
    optimizer: adamW({ b2: 0.99 }),
    learningRate: warmUp(Math.min(50, steps), cosine(t.learningRate, steps, t.learningRate / 10)),
  });
  const plain = imageBatches(train, t.batch, rng.child('plain order'));
  const { params: start } = await trainNetwork({
    ...common(t.plainSteps),
    name: 'autoencoder',
    steps: t.plainSteps,
    rng: rng.child('plain'),
    cursor: plain.cursor,
    init: () => initTokenizer(rng.child('init'), settings) as TokenizerParams & Tree,
    batch: () => plain.next(),
    loss(p, { x }) {
      const latents = encodeLatents(p, x, settings);
      // Keeps the root mean square of the latents near 1, a good size for the codebook and for the inputs of transformer and decoder.
      const spread = tf.square(tf.sub(tf.sqrt(tf.add(tf.mean(tf.square(latents)), 1e-6)), 1));
      return { loss: tf.add(tf.mean(tf.square(tf.sub(decodeLatents(p, latents, settings), x))), tf.mul(spread, 0.1)) };
    },
  });
  const withCodes = (): TokenizerParams & Tree => {
    const coding: QuantizerConfig = { ...quantizerConfig.parse(settings.quantizer), ratio: 0 };
    const { x } = imagesOf(train, 256);
    const some = tf.tidy(() => encodeLatents(start, tf.tensor4d(x, [256, SIDE, SIDE, train.channels]), settings));
    const codes = fitCodebook(some, coding, rng.child('codebook'));
    some.dispose();
    const convolutions = 'quant_resi' in start.quantize ? start.quantize.quant_resi.qresi_ls : [];
    // Φ starts as the identity: (1 - ρ) times its input, plus ρ times a convolution that copies its input.
    const quant_resi = {
      qresi_ls: convolutions.map(({ weight, bias }) => ({ weight: identityKernel(weight.shape), bias: tf.zerosLike(bias) })),
    };
    return { ...start, quantize: { ...codes, quant_resi } } as TokenizerParams & Tree;
  };
  const images = imageBatches(train, t.batch, rng.child('order'));
  const { params } = await trainNetwork({
    ...common(t.steps),
    name: 'tokenizer',
    steps: t.steps,
    rng: rng.child('steps'),
    cursor: images.cursor,
    init: withCodes,
    batch: () => images.next(),
    loss(p, { x }) {
      const { loss, pixels, codes } = tokenizerLoss(p, x, settings);
      return { loss, metrics: { pixels, codes } };
    },
  });
  return params;
}

/** A 3 × 3 kernel that copies every channel, [c, c, 3, 3]. */
function identityKernel(shape: readonly number[]): Tensor {
  const c = shape[0]!;
  const data = new Float32Array(c * c * 9);
  for (let k = 0; k < c; k++) data[(k * c + k) * 9 + 4] = 1;
  return tf.tensor4d(data, [c, c, 3, 3]);
}

/**
 * Decodes flat latents [n, h, w, c] on the host into flat images [n, H, W, C], clipped to [-1, 1]: `all` in batches, `now` at once and synchronously,
 * for few images.
 */
function decoder(tokenizer: TokenizerParams, settings: TokenizerSettings, coding: QuantizerConfig) {
  const side = coding.ladder.at(-1)!;
  const run = compile(
    (p: Tree, z: Tensor) => ({ images: tf.clipByValue(decodeLatents(p as unknown as TokenizerParams, z, settings), -1, 1) }),
    { donate: [1] },
  );
  return {
    all: async (latents: Float32Array): Promise<Float32Array> => {
      const { images } = await inBatches({ z: floats(latents, side, side, coding.channels) }, { batch: 64 }, ({ z }) =>
        run(tokenizer as unknown as Tree, z),
      );
      return images.data as Float32Array;
    },
    now: (latents: Float32Array): Float32Array => {
      const { images } = run(
        tokenizer as unknown as Tree,
        tf.tensor4d(latents, [latents.length / (side * side * coding.channels), side, side, coding.channels]),
      );
      const data = Float32Array.from(images.dataSync());
      images.dispose();
      return data;
    },
    dispose: () => run.dispose(),
  };
}
