import { DISC_AND_BOX_CLASSES, discsAndBoxes, gather } from '@atelier/datasets';
import type { Rng, Tensor } from '@atelier/tensor';
import type { Resumable } from '../runner/experiment.ts';
import { asTensors, factsOfRead, imageBatches, imagesOf, imageSizes, readImages, type ImageFacts } from './images.ts';

/** Images x [B, H, W, C] in [-1, 1] and labels y [B] int32. */
type Batch = { x: Tensor; y: Tensor };

/** An endless stream of images to train on. */
export interface ImageStream {
  readonly name: string;
  readonly side: number;
  readonly channels: number;
  readonly classes: number;
  readonly classNames: readonly string[];
  /** The next batch to train on; drawn images come from `rng`, the stream of the step. */
  next(rng: Rng): Batch;
  /** The position in the data set, if the images are read from one. */
  readonly cursor?: Resumable;
  /** Images for measurements. */
  some(rng: Rng, count: number): Batch;
}

/** Discs and boxes are drawn for every step; the others are read from ATELIER_DATA, or downloaded. */
export const streamNames = ['discs', 'mnist', 'cifar10'] as const;
export type StreamName = (typeof streamNames)[number];

/** Side of the images of a stream, in pixels. */
export const streamSide = (name: StreamName, drawnSide: number): number => (name === 'discs' ? drawnSide : imageSizes[name]);

/**
 * Images to train on, `batch` at a time.
 *
 * @param drawnSide side of drawn images
 * @throws StopError naming what is missing and what would help
 */
export async function imageStream(name: StreamName, drawnSide: number, batch: number, rng: Rng): Promise<ImageStream> {
  if (name === 'discs') return drawnStream(drawnSide, batch, rng);
  const set = await readImages(name, 'train');
  const { next, cursor } = imageBatches(set, batch, rng.child('order'));
  return {
    ...factsOf(set),
    name: set.name,
    next,
    cursor,
    some: (from, count) => asTensors(gather(set, from.integers(count, 0, set.count)), set),
  };
}

function drawnStream(side: number, batch: number, rng: Rng): ImageStream {
  const draw = (from: Rng, count: number): Batch => {
    const set = discsAndBoxes(from, count, side);
    return asTensors(imagesOf(set), set);
  };
  return {
    ...factsOf(discsAndBoxes(rng, 1, side)),
    name: `discs and boxes ${side} x ${side}`,
    next: (from) => draw(from, batch),
    some: draw,
  };
}

/** The facts of the images of a stream, without reading them. */
export const streamFacts = (
  name: StreamName,
  drawnSide: number,
): Pick<ImageStream, 'name' | 'side' | 'channels' | 'classes' | 'classNames'> =>
  name === 'discs'
    ? { name, side: drawnSide, channels: 3, classes: DISC_AND_BOX_CLASSES.length, classNames: DISC_AND_BOX_CLASSES }
    : { name, ...factsOf(factsOfRead(name)) };

const factsOf = ({ height, channels, classes, classNames }: ImageFacts) => ({ side: height, channels, classes, classNames });
