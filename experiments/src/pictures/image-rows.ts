import type { ImageSet } from '@atelier/datasets';
import { floats } from '../evaluation/in-batches.ts';
import type { Picture } from '../runner/experiment.ts';
import { imageGrid, type ImageGridOptions } from './image-grid.ts';

/** Height, width and channels of images. */
type Size = Pick<ImageSet, 'height' | 'width' | 'channels'>;

/** Images [B, H, W, C] flattened that stand side by side behind a label; all rows have the same B. */
export type ImageRow = { readonly label: string; readonly images: Float32Array };

/** Rows of images below each other: methods that started from the same noise, for example. */
export function imageRows(
  rows: readonly ImageRow[],
  { height, width, channels }: Size,
  options: Omit<ImageGridOptions, 'columns' | 'rowLabels'>,
): Picture {
  const length = rows[0]!.images.length;
  const data = new Float32Array(rows.length * length);
  rows.forEach(({ images }, i) => data.set(images, i * length));
  return imageGrid(floats(data, height, width, channels), {
    ...options,
    columns: length / (height * width * channels),
    rowLabels: rows.map(({ label }) => label),
  });
}

/** Samples of each class in a class grid. */
const PER_CLASS = 10;

/** One row for each class of a set, ten samples each. `draw` makes the samples of the classes y [B], [B, H, W, C] flattened. */
export async function classGrid(set: ImageSet, title: string, draw: (y: Int32Array) => Promise<Float32Array>): Promise<Picture> {
  const y = Int32Array.from({ length: PER_CLASS * set.classes }, (_, i) => Math.floor(i / PER_CLASS));
  const images = floats(await draw(y), set.height, set.width, set.channels);
  return imageGrid(images, { title, columns: PER_CLASS, rowLabels: set.classNames, tile: tileOf(set) });
}

/** Width of one image in pixels of layout: small images are drawn small. */
export const tileOf = ({ width }: Pick<ImageSet, 'width'>): number => (width <= 16 ? 32 : 42);
