import type { Rng } from '@atelier/tensor';
import type { Clips, ClipSize } from './network.ts';

/** Rows and columns of a strip in pixels. */
export const STRIP = { height: 4, width: 16 } as const;
/** Standard deviation of the bump of each class, in columns: narrow, wide. */
const WIDTHS = [1, 1.8] as const;
/** Range of the distance that a bump moves from frame to frame, in widths of the strip. */
const SPEED = [0.03, 0.12] as const;
/** Pixels are 2·bump - LEVEL, in [-LEVEL, 2 - LEVEL], so that their variance is near 1. */
const LEVEL = 0.6;

export const stripSize = (frames: number): ClipSize => ({ frames, ...STRIP, classes: WIDTHS.length });

/** Clips of a bump that walks along a strip at a speed of its own and is reflected at the ends. The class is its shape. */
export function walks(rng: Rng, count: number, frames: number): Clips {
  const { height, width } = STRIP;
  const draws = rng.uniforms(4 * count);
  const x = new Float32Array(count * frames * height * width);
  const y = new Int32Array(count);
  for (let n = 0; n < count; n++) {
    const [start, speed, side, shape] = draws.subarray(4 * n, 4 * n + 4) as unknown as [number, number, number, number];
    y[n] = Number(shape < 0.5);
    const step = (SPEED[0] + (SPEED[1] - SPEED[0]) * speed) * width * (side < 0.5 ? -1 : 1);
    for (let f = 0; f < frames; f++) {
      const place = reflect(start * (width - 1) + f * step, width - 1);
      for (let i = 0; i < height * width; i++)
        x[(n * frames + f) * height * width + i] = 2 * Math.exp(-(((i % width) - place) ** 2) / (2 * WIDTHS[y[n]!]! ** 2)) - LEVEL;
    }
  }
  return { x, y };
}

function reflect(place: number, room: number): number {
  const within = ((place % (2 * room)) + 2 * room) % (2 * room);
  return within <= room ? within : 2 * room - within;
}

/** How far clips are from true ones. */
export type ClipErrors = {
  /** For every frame the mean distance between the centres of mass, in widths of the strip. */
  position: number[];
  /** Mean squared error of the pixels. */
  squared: number;
  /** Height of the brightest pixel of a frame over the background (-LEVEL), as a mean over frames; `truePeak` is that of the true clips. */
  peak: number;
  truePeak: number;
};

/** Compares clips [n, F, H, W] with true ones of the same shape. */
export function clipErrors(found: Float32Array, truth: Float32Array, frames: number): ClipErrors {
  const { height, width } = STRIP;
  const size = height * width;
  const clips = found.length / (frames * size);
  const position = new Array<number>(frames).fill(0);
  let [squared, peak, truePeak] = [0, 0, 0];
  for (let n = 0; n < clips * frames; n++) {
    const [a, b] = [found, truth].map((x) => x.subarray(n * size, (n + 1) * size)) as [Float32Array, Float32Array];
    position[n % frames]! += Math.abs(centre(a, width) - centre(b, width)) / width / clips;
    peak += (Math.max(...a) + LEVEL) / (clips * frames);
    truePeak += (Math.max(...b) + LEVEL) / (clips * frames);
    for (let i = 0; i < size; i++) squared += (a[i]! - b[i]!) ** 2 / found.length;
  }
  return { position, squared, peak, truePeak };
}

/** The column of the centre of mass of everything above half the height of the brightest pixel. */
function centre(frame: Float32Array, width: number): number {
  const floor = (Math.max(...frame) - LEVEL) / 2;
  let [mass, moment] = [0, 0];
  for (let i = 0; i < frame.length; i++) {
    const above = Math.max(0, frame[i]! - floor);
    mass += above;
    moment += above * (i % width);
  }
  return mass > 0 ? moment / mass : width / 2;
}
