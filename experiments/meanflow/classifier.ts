import { adamW, cosine, emaUpdate, emaWarmUp, initParameters, linear, warmUp, type AdamState, type LinearParams } from '@atelier/nn';
import { batches, type ImageSet } from '@atelier/datasets';
import { classShare, predictedClasses } from '@atelier/metrics';
import { compile, disposeTree, tf, treeMap, valueAndGrad, type Rng, type Tensor } from '@atelier/tensor';
import { trainLoop } from '../src/training/train-loop.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import { imagesOf, placeOf } from '../src/data/images.ts';
import type { Config } from './config.ts';

/** Two convolutions of stride 2 and two linear layers; weights [out, in, 3, 3] and [out, in]. */
export type ClassifierParams = { conv1: LinearParams; conv2: LinearParams; fc1: LinearParams; fc2: LinearParams };

/** Width of the last hidden layer, in which distances are measured too. */
export const CLASSIFIER_FEATURES = 64;
const BATCH = 256;

export function initClassifier(rng: Rng, { height, width, channels, classes }: ImageSet): ClassifierParams {
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
export function classify(params: ClassifierParams, x: Tensor): { features: Tensor; logits: Tensor } {
  const convolve = ({ weight, bias }: LinearParams, input: Tensor): Tensor => {
    const kernel = tf.transpose(weight, [2, 3, 1, 0]) as Parameters<typeof tf.conv2d>[1]; // OIHW -> HWIO
    const out = tf.conv2d(input as Parameters<typeof tf.conv2d>[0], kernel, 2, 'same');
    return tf.relu(tf.add(out, bias));
  };
  const top = convolve(params.conv2, convolve(params.conv1, x));
  const features = tf.relu(linear(params.fc1, tf.reshape(top, [x.shape[0]!, -1])));
  return { features, logits: linear(params.fc2, features) };
}

/** Trains a classifier on the true images and averages its weights. */
export async function trainClassifier(
  context: RunContext<Config>,
  train: ImageSet,
  settings: Config['images']['classifier'],
): Promise<ClassifierParams> {
  const { steps, batch: B } = settings;
  const rng = context.rng.child('classifier');
  const cursor = batches(train, B, rng.child('order'));
  const optimizer = adamW();
  const learningRate = warmUp(Math.min(50, steps), cosine(settings.learningRate, steps));
  const emaDecay = emaWarmUp(0.99);
  const shape = [B, train.height, train.width, train.channels];
  type State = { params: ClassifierParams; optimizer: AdamState; average: ClassifierParams };
  type Batch = { x: Tensor; y: Tensor; learningRate: Tensor; emaDecay: Tensor };
  const { state } = await trainLoop<State, Batch>({
    context,
    name: 'classifier',
    steps,
    every: { checkpointSeconds: context.config.checkpointSeconds },
    cursor: placeOf(cursor),
    init() {
      const params = initClassifier(rng.child('init'), train);
      return { params, optimizer: optimizer.init(params), average: treeMap((leaf) => leaf.clone(), params) };
    },
    batch(_, step) {
      const { x, y } = cursor.next();
      return {
        x: tf.tensor(x, shape),
        y: tf.tensor1d(y, 'int32'),
        learningRate: tf.scalar(learningRate(step)),
        emaDecay: tf.scalar(emaDecay(step)),
      };
    },
    step(state, batch) {
      const { loss, grads } = valueAndGrad((params) => {
        const target = tf.oneHot(batch.y, train.classes);
        const perRow = tf.neg(tf.sum(tf.mul(target, tf.logSoftmax(classify(params, batch.x).logits)), 1));
        return { loss: tf.mean(perRow), aux: {} };
      }, state.params);
      const { params, state: moments } = optimizer.update(grads, state.optimizer, state.params, batch.learningRate);
      return { state: { params, optimizer: moments, average: emaUpdate(state.average, params, batch.emaDecay) }, metrics: { loss } };
    },
  });
  disposeTree([state.params, state.optimizer]);
  return state.average;
}

/** A trained classifier as a measure of images on the host. */
export interface Judge {
  /** Images [N, H, W, C] flattened -> features [N, 64] flattened and the most likely classes [N]. */
  look(images: Float32Array): Promise<{ features: Float32Array; classes: Int32Array }>;
  dispose(): void;
}

export function makeJudge(params: ClassifierParams, { height, width, channels, classes }: ImageSet): Judge {
  const run = compile((weights: ClassifierParams, x: Tensor) => classify(weights, x), { donate: [1], name: 'classify' });
  const size = height * width * channels;
  return {
    async look(images) {
      const total = images.length / size;
      const features = new Float32Array(total * CLASSIFIER_FEATURES);
      const logits = new Float32Array(total * classes);
      for (let from = 0; from < total; from += BATCH) {
        const to = Math.min(total, from + BATCH);
        const out = run(params, tf.tensor(images.subarray(from * size, to * size), [to - from, height, width, channels]));
        features.set((await out.features.data()) as Float32Array, from * CLASSIFIER_FEATURES);
        logits.set((await out.logits.data()) as Float32Array, from * classes);
        disposeTree(out);
      }
      return { features, classes: predictedClasses(logits, classes) };
    },
    dispose: () => run.dispose(),
  };
}

/** Share of the images of a set that the judge puts into their class. */
export async function accuracy(judge: Judge, set: ImageSet): Promise<number> {
  const { x, y } = imagesOf(set);
  return classShare((await judge.look(x)).classes, y);
}
