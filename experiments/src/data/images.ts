import {
  cifar10,
  fashionMnist,
  gather,
  glyphOptions,
  glyphs,
  mnist,
  shapes,
  slice,
  type Batches,
  type ImageBatch,
  type ImageSet,
} from '@atelier/datasets';
import type { Rng } from '@atelier/tensor';
import { z } from 'zod';
import { StopError } from '../runner/errors.ts';
import type { Json, Resumable } from '../runner/experiment.ts';

const count = z.int().min(1);

/** Side of the square images of each data set; that of glyphs is a key. */
const SIDES = { shapes: 8, mnist: 28, 'fashion-mnist': 28, cifar10: 32 } as const;

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
  data === 'glyphs' ? glyphs.size : SIDES[data];

/** `train` to learn from, `reference` to compare samples with, and `second`, other true images, whose distance from `reference` is the floor. */
export type ImageData = { readonly train: ImageSet; readonly reference: ImageSet; readonly second: ImageSet };

/**
 * The images of a source, `samples` of them to compare with where they are drawn.
 *
 * @param experiment its name, for messages
 * @throws StopError naming what is missing and what would help.
 */
export async function loadImages(source: ImageSource & { samples: number }, rng: Rng, experiment: string): Promise<ImageData> {
  try {
    if (source.data === 'shapes' || source.data === 'glyphs') return drawImages(source, rng);
    return await readImages({ mnist, 'fashion-mnist': fashionMnist, cifar10 }[source.data], source.samples, experiment);
  } catch (error) {
    throw new StopError((error as Error).message, { cause: error });
  }
}

function drawImages({ data, drawn, samples, glyphs: options }: ImageSource & { samples: number }, rng: Rng): ImageData {
  const draw = (name: string, count: number): ImageSet =>
    data === 'shapes' ? shapes(rng.child(name), count) : glyphs(rng.child(name), count, options);
  return { train: draw('train', drawn), reference: draw('reference', samples), second: draw('second', samples) };
}

async function readImages(read: (split: 'train' | 'test') => Promise<ImageSet>, samples: number, experiment: string): Promise<ImageData> {
  const [train, reference] = [await read('train'), await read('test')];
  const fewer = Math.min(train.count, reference.count);
  if (samples > fewer)
    throw new Error(`${experiment}: 'images.samples': wanted at most ${fewer}, for that many true images are there, got ${samples}`);
  return { train, reference, second: slice(train, 0, samples) };
}

/** All images of a set, or the first `count`. */
export function imagesOf(set: ImageSet, count = set.count): ImageBatch {
  const part = count === set.count ? set : slice(set, 0, count);
  return gather(
    part,
    Int32Array.from({ length: part.count }, (_, i) => i),
  );
}

/** The place of a cursor over a set, in the form in which `trainLoop` saves it. */
export const placeOf = (cursor: Batches): Resumable => ({
  state: () => cursor.state() as unknown as Json,
  restore: (state) => cursor.restore(state as unknown as ReturnType<Batches['state']>),
});
