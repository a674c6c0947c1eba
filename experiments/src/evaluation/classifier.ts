import type { ImageSet } from '@atelier/datasets';
import { classShare, predictedClasses } from '@atelier/metrics';
import { adamW, cosine, emaWarmUp, initParameters, linear, warmUp, type LinearParams } from '@atelier/nn';
import { compile, disposeTree, tf, toHostTree, type Rng, type Tensor } from '@atelier/tensor';
import { z } from 'zod';
import { imageBatches, imagesOf } from '../data/images.ts';
import { tensorsHash } from '../runner/checkpoint.ts';
import type { BaseConfig, RunContext } from '../runner/experiment.ts';
import { trainNetwork } from '../training/train-network.ts';
import { floats, inBatches } from './in-batches.ts';

/** The keys by which an experiment sets how its classifier is trained. */
export const classifierKeys = (defaults: { steps: number }) => ({
  steps: z.int().min(1).default(defaults.steps),
  batch: z.int().min(1).default(128),
  learningRate: z.number().positive().default(2e-3),
});
export type ClassifierSettings = z.output<z.ZodObject<ReturnType<typeof classifierKeys>>>;

/** Two convolutions of stride 2 and two linear layers; weights [out, in, 3, 3] and [out, in]. */
export type ClassifierParams = { conv1: LinearParams; conv2: LinearParams; fc1: LinearParams; fc2: LinearParams };

/** Width of the last hidden layer, in which distances are measured too. */
export const CLASSIFIER_FEATURES = 64;
const BATCH = 256;

function initClassifier(rng: Rng, { height, width, channels, classes }: ImageSet): ClassifierParams {
  const quarter = (side: number): number => Math.ceil(Math.ceil(side / 2) / 2);
  const flat = 32 * quarter(height) * quarter(width);
  const layer = (name: string, shape: number[]) => ({
    [`${name}.weight`]: { shape, init: 'torch' as const },
    [`${name}.bias`]: { shape: [shape[0]!], init: 'zeros' as const },
  });
  return initParameters(rng, {
    ...layer('conv1', [16, channels, 3, 3]),
    ...layer('conv2', [32, 16, 3, 3]),
    ...layer('fc1', [CLASSIFIER_FEATURES, flat]),
    ...layer('fc2', [classes, CLASSIFIER_FEATURES]),
  }) as ClassifierParams;
}

/** Images x [B, H, W, C] -> features [B, 64] and logits [B, N]. */
function classify(params: ClassifierParams, x: Tensor): { features: Tensor; logits: Tensor } {
  const convolve = ({ weight, bias }: LinearParams, input: Tensor): Tensor => {
    const kernel = tf.transpose(weight, [2, 3, 1, 0]) as Parameters<typeof tf.conv2d>[1]; // OIHW -> HWIO
    const out = tf.conv2d(input as Parameters<typeof tf.conv2d>[0], kernel, 2, 'same');
    return tf.relu(tf.add(out, bias));
  };
  const top = convolve(params.conv2, convolve(params.conv1, x));
  const features = tf.relu(linear(params.fc1, tf.reshape(top, [x.shape[0]!, -1])));
  return { features, logits: linear(params.fc2, features) };
}

/** A classifier trained in this run, as a measure of images on the host. */
export interface Judge {
  /** Share of the reference images, which it was not trained on, that it puts into their class. */
  readonly accuracy: number;
  /** SHA-256 of its weights: two runs whose scores are compared should have been judged by the same one. */
  readonly hash: string;
  /** Images [N, H, W, C] flattened -> features [N, 64] flattened and the most likely classes [N]. */
  look(images: Float32Array): Promise<{ features: Float32Array; classes: Int32Array }>;
  dispose(): void;
}

/** Trains a classifier on true images, measures how often it is right on others, and tells. */
export async function trainJudge(
  context: RunContext<BaseConfig & { readonly checkpointSeconds: number }>,
  { train, reference }: { train: ImageSet; reference: ImageSet },
  settings: ClassifierSettings,
): Promise<Judge> {
  const params = await trainClassifier(context, train, settings);
  const run = compile((weights: ClassifierParams, x: Tensor) => classify(weights, x), { donate: [1], name: 'classify' });
  const { height, width, channels, classes } = train;
  const look: Judge['look'] = async (images) => {
    const { features, logits } = await inBatches({ x: floats(images, height, width, channels) }, { batch: BATCH }, ({ x }) =>
      run(params, x),
    );
    return { features: features.data as Float32Array, classes: predictedClasses(logits.data as Float32Array, classes) };
  };
  const { share } = await context.stage('classifier-accuracy', async () => {
    const { x, y } = imagesOf(reference);
    return { share: classShare((await look(x)).classes, y) };
  });
  const hash = tensorsHash(await toHostTree(params));
  const percent = (100 * share).toFixed(2);
  context.note(`the classifier is right on ${percent} % of ${reference.count} images it has not seen (weights ${hash.slice(0, 12)})`);
  return {
    accuracy: share,
    hash,
    look,
    dispose() {
      run.dispose();
      disposeTree(params);
    },
  };
}

/** Cross-entropy on the true images; returns the averaged weights. */
async function trainClassifier(
  context: RunContext<BaseConfig & { readonly checkpointSeconds: number }>,
  train: ImageSet,
  { steps, batch, learningRate }: ClassifierSettings,
): Promise<ClassifierParams> {
  const rng = context.rng.child('classifier');
  const images = imageBatches(train, batch, rng.child('order'));
  const { params } = await trainNetwork({
    context,
    name: 'classifier',
    steps,
    rng,
    optimizer: adamW(),
    learningRate: warmUp(Math.min(50, steps), cosine(learningRate, steps)),
    emaDecay: emaWarmUp(0.99),
    cursor: images.cursor,
    init: () => initClassifier(rng.child('init'), train),
    batch: () => images.next(),
    loss(params, { x, y }) {
      const target = tf.oneHot(y, train.classes);
      const perRow = tf.neg(tf.sum(tf.mul(target, tf.logSoftmax(classify(params, x).logits)), 1));
      return { loss: tf.mean(perRow) };
    },
  });
  return params;
}
