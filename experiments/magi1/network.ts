import { adamW } from '@atelier/nn';
import {
  drawTraining,
  initMagi,
  magiConfig,
  magiLoss,
  type MagiConfig,
  type MagiParams,
  type TrainingBatch,
  type TrainingSettings,
} from '@atelier/magi1';
import { tf, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import type { RunContext } from '../src/runner/experiment.ts';
import { schedulesOf, type Optimization } from '../src/training/optimization.ts';
import { trainNetwork } from '../src/training/train-network.ts';
import type { Config, Glyphs, Strip } from './config.ts';

/** Clips on the host, [n, F, H, W, 1], and their classes. */
export type Clips = { x: Float32Array; y: Int32Array };
/** Sizes of clips. */
export type ClipSize = { frames: number; height: number; width: number; classes: number };

/** The settings of a network for clips whose prompt is their class, as one token. */
export function networkFor(keys: Strip | Glyphs, { classes }: ClipSize): MagiConfig {
  const { layers, width, heads, kvHeads, headDim, patch } = keys;
  return magiConfig.parse({
    layers,
    width,
    hidden: 2 * width,
    heads,
    kvHeads,
    headDim,
    patch,
    channels: 1,
    captionChannels: classes,
    captionLength: 2,
    nullTokens: 1,
  });
}

/** Classes y [n] int32 as texts of one token: features [n, 1, N] are one-hot times √N, so that their mean square is 1. */
export function textOf(y: Tensor, classes: number): { features: Tensor; mask: Tensor } {
  const B = y.shape[0]!;
  const features = tf.tidy(() => tf.expandDims(tf.mul(tf.oneHot(y as tf.Tensor1D, classes, 1, 0, 'float32'), Math.sqrt(classes)), 1));
  return { features, mask: tf.ones([B, 1], 'bool') };
}

/** `textOf` for classes on the host. */
export const classText = (y: ArrayLike<number>, classes: number): { features: Tensor; mask: Tensor } => {
  const labels = tf.tensor1d(Int32Array.from(y), 'int32');
  const text = textOf(labels, classes);
  labels.dispose();
  return text;
};

/** The same text for every chunk: [n, M, 1, N] and [n, M, 1]. */
export function chunkTexts(y: ArrayLike<number>, classes: number, chunks: number): { features: Tensor; mask: Tensor } {
  const { features, mask } = classText(y, classes);
  return {
    features: tf.tile(tf.reshape(features, [y.length, 1, 1, classes]), [1, chunks, 1, 1]),
    mask: tf.tile(tf.reshape(mask, [y.length, 1, 1]), [1, chunks, 1]),
  };
}

/** Trains a network on clips. The caller owns the weights. */
export async function trainOnClips(
  context: RunContext<Config>,
  name: string,
  rng: Rng,
  keys: Strip | Glyphs,
  size: ClipSize,
  draw: (rng: Rng, count: number) => Clips,
  training: TrainingSettings,
): Promise<MagiParams> {
  const config = networkFor(keys, size);
  const optimization: Optimization = keys.training;
  const { batch } = optimization;
  const shape = [batch, size.frames, size.height, size.width, 1] as const;
  const { params } = await trainNetwork({
    context,
    name,
    steps: optimization.steps,
    rng: rng.child('steps'),
    optimizer: adamW({ b2: 0.95, weightDecay: 0.1 }),
    ...schedulesOf(optimization),
    init: () => initMagi(rng.child('init'), config) as unknown as Tree,
    batch: (at): Tree =>
      tf.tidy(() => {
        const { x, y } = draw(at.child('clips'), batch);
        return {
          x: tf.tensor(x, [...shape]),
          ...chunkTexts(y, size.classes, keys.chunks),
          ...drawTraining(at, shape, keys.chunks, training),
        } as never;
      }) as unknown as Tree,
    loss: (at, inputs) => ({ loss: magiLoss(at as unknown as MagiParams, inputs as unknown as TrainingBatch, config, training).loss }),
  });
  return params as unknown as MagiParams;
}
