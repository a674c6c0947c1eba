import { cifar10, fashionMnist, glyphs, mnist, shapes, slice, type ImageSet } from '@atelier/datasets';
import type { Rng } from '@atelier/tensor';
import { StopError } from '../src/errors.ts';
import type { Images } from './config.ts';

/** `train` to learn from, `reference` to compare samples with, and `second`, other true images, whose distance from `reference` is the floor. */
export type ImageData = { readonly train: ImageSet; readonly reference: ImageSet; readonly second: ImageSet };

/** @throws StopError naming what is missing and what would help. */
export async function loadImages(config: Images, rng: Rng): Promise<ImageData> {
  try {
    if (config.data === 'shapes' || config.data === 'glyphs') return drawImages(config, rng);
    return await readImages({ mnist, 'fashion-mnist': fashionMnist, cifar10 }[config.data], config.samples);
  } catch (error) {
    throw new StopError((error as Error).message, { cause: error });
  }
}

function drawImages({ data, drawn, samples, glyphs: options }: Images, rng: Rng): ImageData {
  const draw = (name: string, count: number): ImageSet =>
    data === 'shapes' ? shapes(rng.child(name), count) : glyphs(rng.child(name), count, options);
  return { train: draw('train', drawn), reference: draw('reference', samples), second: draw('second', samples) };
}

async function readImages(read: (split: 'train' | 'test') => Promise<ImageSet>, samples: number): Promise<ImageData> {
  const [train, reference] = [await read('train'), await read('test')];
  const fewer = Math.min(train.count, reference.count);
  if (samples > fewer)
    throw new Error(`meanflow: 'images.samples': wanted at most ${fewer}, for that many true images are there, got ${samples}`);
  return { train, reference, second: slice(train, 0, samples) };
}
