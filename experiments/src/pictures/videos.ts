import type { HostTensor } from '@atelier/tensor';
import type { Picture } from '../runner/experiment.ts';
import { animatedPng } from './animated-png.ts';
import { imageGrid, type ImageGridOptions } from './image-grid.ts';

/** As for a grid of images, where the rows of a film strip are videos and its columns are frames. */
export type FilmStripOptions = Omit<ImageGridOptions, 'columns' | 'columnLabels'> & {
  /** Frames shown, evenly spread from the first to the last; all of them up to 12 by default. */
  readonly shown?: number;
};

const SHOWN = 12;

/**
 * Videos below each other, frames side by side under their numbers.
 *
 * @param videos [B, F, H, W, C] float32, C = 1 (grey) or 3 (red, green, blue)
 * @throws Error for another shape, a wrong number of labels or of frames, or numbers that are not finite
 */
export function filmStrip(videos: HostTensor, options: FilmStripOptions = {}): Picture {
  const [count, frames, height, width, channels] = checkVideos('filmStrip', videos);
  const { shown = Math.min(SHOWN, frames), ...grid } = options;
  if (!Number.isInteger(shown) || shown < 1 || shown > frames)
    throw new Error(`filmStrip: shown: wanted a whole number from 1 to ${frames} frames, got ${shown}`);
  const places = Array.from({ length: shown }, (_, i) => (shown === 1 ? 0 : Math.round((i * (frames - 1)) / (shown - 1))));
  const size = height * width * channels;
  const data = new Float32Array(count * shown * size);
  for (let n = 0; n < count; n++)
    places.forEach((f, i) => {
      const from = (n * frames + f) * size;
      data.set((videos.data as Float32Array).subarray(from, from + size), (n * shown + i) * size);
    });
  const images = { dtype: 'float32' as const, shape: [count * shown, height, width, channels], data };
  return imageGrid(images, { ...grid, columns: shown, columnLabels: places.map((f) => String(f + 1)) });
}

export type AnimationOptions = ImageGridOptions & {
  /** 8 by default. */
  readonly framesPerSecond?: number;
};

/**
 * Videos side by side that play at once, as an animated PNG without end. Programs that know only still PNGs show the first frame.
 *
 * @param videos [B, F, H, W, C] float32, C = 1 or 3; they are placed and labelled like the images of a grid
 * @throws Error for another shape, another number of labels, numbers that are not finite, or a rate that is not positive
 */
export function animation(videos: HostTensor, { framesPerSecond = 8, ...grid }: AnimationOptions = {}): Picture {
  const [count, frames, height, width, channels] = checkVideos('animation', videos);
  const size = height * width * channels;
  const pictures = Array.from({ length: frames }, (_, f) => {
    const data = new Float32Array(count * size);
    for (let n = 0; n < count; n++) {
      const from = (n * frames + f) * size;
      data.set((videos.data as Float32Array).subarray(from, from + size), n * size);
    }
    return imageGrid({ dtype: 'float32', shape: [count, height, width, channels], data }, grid);
  });
  return animatedPng(pictures, framesPerSecond);
}

function checkVideos(where: string, { dtype, shape }: HostTensor): [number, number, number, number, number] {
  if (dtype !== 'float32' || shape.length !== 5 || shape.includes(0))
    throw new Error(`${where}: wanted float32 [B, F, H, W, C] with C = 1 or 3, got ${dtype} [${shape.join(', ')}]`);
  return shape as [number, number, number, number, number];
}
