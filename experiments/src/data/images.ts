import {
  batches,
  gather,
  SHAPE_CLASSES,
  shapes,
  slice,
  type Batches,
  type ImageBatch,
  type ImageSet,
  type VideoSet,
} from '@atelier/datasets';
import {
  cifar10,
  CIFAR10_CLASSES,
  FASHION_MNIST_CLASSES,
  fashionMnist,
  glyphOptions,
  glyphs,
  mnist,
  MNIST_CLASSES,
} from '@atelier/datasets/node';
import { tf, type Rng, type Tensor } from '@atelier/tensor';
import { z } from 'zod';
import { StopError } from '../runner/errors.ts';
import type { Json, Resumable } from '../runner/experiment.ts';

const count = z.int().min(1);

/** Data sets that are read. */
const readers = { mnist, 'fashion-mnist': fashionMnist, cifar10 };
type ReadName = keyof typeof readers;

/** Side of the square images of each data set, in pixels; that of glyphs is a key. */
export const imageSizes = { shapes: 8, mnist: 28, 'fashion-mnist': 28, cifar10: 32 } as const;

/** The keys by which an experiment chooses its images. */
export const imageSourceKeys = (defaults: { data: 'shapes' | 'glyphs'; glyphSize: number; drawn: number }) => ({
  /** `shapes` and `glyphs` are drawn; the others are read from ATELIER_DATA, or downloaded. */
  data: z.enum(['shapes', 'glyphs', 'mnist', 'fashion-mnist', 'cifar10']).default(defaults.data),
  /** Letters and digits drawn from fonts: one class a character, under the random affine maps of the data set. */
  glyphs: glyphOptions.extend({ size: glyphOptions.shape.size.unwrap().default(defaults.glyphSize) }).prefault({}),
  /** How many images are drawn for training, where they are drawn. */
  drawn: count.default(defaults.drawn),
});
export type ImageSource = z.output<z.ZodObject<ReturnType<typeof imageSourceKeys>>>;

/** Side of the images of a source, in pixels. */
export const imageSide = ({ data, glyphs }: Pick<ImageSource, 'data' | 'glyphs'>): number =>
  data === 'glyphs' ? glyphs.size : imageSizes[data];

/** Size and classes of images. */
export type ImageFacts = Pick<ImageSet, 'name' | 'height' | 'width' | 'channels' | 'classes' | 'classNames'>;

/** Channels and classes of the data sets that are read. */
const readFacts: Record<ReadName, { channels: number; classNames: readonly string[] }> = {
  mnist: { channels: 1, classNames: MNIST_CLASSES },
  'fashion-mnist': { channels: 1, classNames: FASHION_MNIST_CLASSES },
  cifar10: { channels: 3, classNames: CIFAR10_CLASSES },
};

/** The facts of a data set that is read, without reading it. */
export const factsOfRead = (name: ReadName): ImageFacts => {
  const { channels, classNames } = readFacts[name];
  return { name, height: imageSizes[name], width: imageSizes[name], channels, classes: classNames.length, classNames };
};

/** The facts of a source, without reading or drawing its images. */
export function imageFacts({ data, glyphs: options }: Pick<ImageSource, 'data' | 'glyphs'>): ImageFacts {
  if (data !== 'shapes' && data !== 'glyphs') return factsOfRead(data);
  const [side, classNames] = data === 'shapes' ? [imageSizes.shapes, SHAPE_CLASSES] : [options.size, [...options.characters]];
  return { name: data, height: side, width: side, channels: 1, classes: classNames.length, classNames };
}

/** `train` to learn from; `reference` to compare samples with; `second`, other true images: their distance from `reference` is the best a model can reach. */
export type ImageData = { readonly train: ImageSet; readonly reference: ImageSet; readonly second: ImageSet };

/**
 * The images of a source. If they are drawn, `samples` of them are made for the comparison.
 *
 * @param experiment its name, for messages
 * @throws StopError that says what is missing and what to do.
 */
export async function loadImages(source: ImageSource & { samples: number }, rng: Rng, experiment: string): Promise<ImageData> {
  const { data, samples } = source;
  if (data === 'shapes' || data === 'glyphs') return stopping(() => drawImages({ ...source, data }, rng));
  const [train, reference] = [await readImages(data, 'train'), await readImages(data, 'test')];
  const fewer = Math.min(train.count, reference.count);
  if (samples > fewer)
    throw new StopError(`${experiment}: 'images.samples': wanted at most ${fewer}, for that many true images are there, got ${samples}`);
  return { train, reference, second: slice(train, 0, samples) };
}

/** A part of a data set, from ATELIER_DATA or downloaded. @throws StopError naming what is missing and what would help. */
export const readImages = (name: ReadName, split: 'train' | 'test'): Promise<ImageSet> => stopping(() => readers[name](split));

function drawImages(
  { data, drawn, samples, glyphs: options }: ImageSource & { data: 'shapes' | 'glyphs'; samples: number },
  rng: Rng,
): ImageData {
  const draw = (name: string, count: number): ImageSet =>
    data === 'shapes' ? shapes(rng.child(name), count) : glyphs(rng.child(name), count, options);
  return { train: draw('train', drawn), reference: draw('reference', samples), second: draw('second', samples) };
}

/** An error of a data set ends the run, with its message as the sentence. */
async function stopping<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new StopError((error as Error).message, { cause: error });
  }
}

/** All images or videos of a set, or the first `count`. */
export function imagesOf(set: ImageSet | VideoSet, count = set.count): ImageBatch {
  const part = count === set.count ? set : slice(set, 0, count);
  return gather(
    part,
    Int32Array.from({ length: part.count }, (_, i) => i),
  );
}

/** Endless batches of a set, in a new order in each epoch. */
export interface ImageBatches {
  /** Images x [B, H, W, C] in [-1, 1] and labels y [B] int32; the caller must dispose them. */
  next(): { x: Tensor; y: Tensor };
  /** The position in the set, which `trainLoop` saves. */
  readonly cursor: Resumable;
}

/** @param rng decides the orders */
export function imageBatches(set: ImageSet, batch: number, rng: Rng): ImageBatches {
  const order = batches(set, batch, rng);
  return {
    next: () => asTensors(order.next(), set),
    cursor: {
      state: () => order.state() as unknown as Json,
      restore: (state) => order.restore(state as unknown as ReturnType<Batches['state']>),
    },
  };
}

/** Images and labels that were gathered from a set, as tensors. */
export function asTensors({ x, y }: ImageBatch, { height, width, channels }: ImageSet): { x: Tensor; y: Tensor } {
  return { x: tf.tensor(x, [y.length, height, width, channels]), y: tf.tensor1d(y, 'int32') };
}
