import { batches, cifar10, discsAndBoxes, gather, mnist, type ImageSet } from '@atelier/datasets';
import { tf, type Rng, type Tensor } from '@atelier/tensor';
import { StopError } from '../src/runner/errors.ts';
import type { Resumable } from '../src/runner/experiment.ts';
import { imagesOf, placeOf } from '../src/data/images.ts';
import { IMAGES, type Config } from './config.ts';

/** Images x [B, H, W, C] in [-1, 1] and labels y [B] int32. */
export type Batch = { x: Tensor; y: Tensor };

export interface Data {
  readonly name: string;
  readonly side: number;
  readonly channels: number;
  readonly classes: number;
  readonly classNames: readonly string[];
  /** The next images to train on; drawn ones come from the step's own stream. */
  next(rng: Rng, count: number): Batch;
  /** The place in a data set that was read. */
  readonly cursor?: Resumable;
  /** Images that metrics are measured on. */
  some(rng: Rng, count: number): Batch;
}

/** @throws StopError naming what is missing and what would help. */
export async function loadData({ data, side, training }: Config, rng: Rng): Promise<Data> {
  if (data === 'discs') {
    const { channels } = IMAGES.discs;
    const draw = (from: Rng, count: number): Batch => asBatch(discsAndBoxes(from, count, side));
    const { classes, classNames } = discsAndBoxes(rng, 1, side);
    return { name: `discs and boxes ${side} x ${side}`, side, channels, classes, classNames, next: draw, some: draw };
  }
  let set: ImageSet;
  try {
    set = await { mnist, cifar10 }[data]('train');
  } catch (error) {
    throw new StopError((error as Error).message, { cause: error });
  }
  const order = batches(set, training.batch, rng.child('order'));
  return {
    name: set.name,
    side: set.height,
    channels: set.channels,
    classes: set.classes,
    classNames: set.classNames,
    next(_, count) {
      const { x, y } = order.next();
      if (y.length !== count) throw new StopError(`gs-jacobi: wanted batches of ${training.batch}, asked for one of ${count}`);
      return { x: tf.tensor(x, [count, set.height, set.width, set.channels]), y: tf.tensor1d(y, 'int32') };
    },
    cursor: placeOf(order),
    some(from, count) {
      const { x, y } = gather(set, from.integers(count, 0, set.count));
      return { x: tf.tensor(x, [count, set.height, set.width, set.channels]), y: tf.tensor1d(y, 'int32') };
    },
  };
}

function asBatch(set: ImageSet): Batch {
  const { x, y } = imagesOf(set);
  return { x: tf.tensor(x, [set.count, set.height, set.width, set.channels]), y: tf.tensor1d(y, 'int32') };
}
