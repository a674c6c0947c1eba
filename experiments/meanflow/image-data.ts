import { fashionMnist, glyphs, mnist, shapes, slice, type ImageSet } from '@atelier/datasets';
import type { Rng } from '@atelier/tensor';
import { StopError } from '../src/errors.ts';
import type { Images } from './config.ts';

/** `train` to learn from, `reference` to compare samples with, and `second`, other true images, whose distance from `reference` is the floor. */
export type ImageData = { readonly train: ImageSet; readonly reference: ImageSet; readonly second: ImageSet };

/** @throws StopError naming what is missing and what would help. */
export async function loadImages(config: Images, rng: Rng): Promise<ImageData> {
  try {
    return config.data === 'shapes' || config.data === 'glyphs' ? drawImages(config, rng) : await readImages(config);
  } catch (error) {
    throw new StopError((error as Error).message, { cause: error });
  }
}

function drawImages({ data, drawn, samples, characters, size }: Images, rng: Rng): ImageData {
  const draw = (name: string, count: number): ImageSet =>
    data === 'shapes' ? shapes(rng.child(name), count) : glyphs(rng.child(name), count, { characters, size });
  return { train: draw('train', drawn), reference: draw('reference', samples), second: draw('second', samples) };
}

async function readImages({ data, samples }: Images): Promise<ImageData> {
  const read = data === 'mnist' ? mnist : fashionMnist;
  const [train, reference] = [await read('train'), await read('test')];
  if (samples > reference.count)
    throw new StopError(`meanflow: 'images.samples': wanted at most the ${reference.count} images of the test set, got ${samples}`);
  return { train, reference, second: slice(train, 0, samples) };
}
