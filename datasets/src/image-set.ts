import { checkNumber } from '@atelier/tensor';

/**
 * Labelled images of one size, the one shape that all image data sets share.
 *
 * `pixels` is [N, H, W, C] flattened, row-major, channels last: bytes 0 … 255 (made [-1, 1] batch by batch, so that 60,000 digits take 47 MB
 * and not 188), or float32 already in [-1, 1].
 */
export type ImageSet = LabelledPixels & { readonly frames?: undefined };

/** Labelled videos of one size: like an `ImageSet`, but `pixels` is [N, F, H, W, C] flattened. */
export type VideoSet = LabelledPixels & { readonly frames: number };

type LabelledPixels = {
  /** What the images are, for reports and file names. */
  readonly name: string;
  readonly pixels: Uint8Array | Float32Array;
  /** [N] int32 in [0, classes). */
  readonly labels: Int32Array;
  /** N, H, W, C. */
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly classes: number;
  /** One name a class, in the order of the labels. */
  readonly classNames: readonly string[];
};

/** A batch on the host: x [B, H, W, C] (videos: [B, F, H, W, C]) float32 in [-1, 1], flattened; y [B] int32. */
export type ImageBatch = { x: Float32Array; y: Int32Array };

/** Byte 0 is -1, byte 255 is +1 (2·p/255 - 1). */
const BYTE_TO_UNIT = Float32Array.from({ length: 256 }, (_, p) => (2 * p) / 255 - 1);

/** Number of values of one image or video. */
export function imageSize(set: ImageSet | VideoSet): number {
  return (set.frames ?? 1) * set.height * set.width * set.channels;
}

/**
 * The images (or videos) and labels at `indices`, in that order.
 *
 * @param indices whole numbers in [0, N); repeats are allowed.
 * @throws Error if an index is outside the set.
 */
export function gather(set: ImageSet | VideoSet, indices: ArrayLike<number>): ImageBatch {
  const size = imageSize(set);
  const x = new Float32Array(indices.length * size);
  const y = new Int32Array(indices.length);
  for (let row = 0; row < indices.length; row++) {
    const index = indices[row]!;
    checkNumber('gather: index', index, { integer: true, min: 0, below: set.count });
    y[row] = set.labels[index]!;
    const image = set.pixels.subarray(index * size, (index + 1) * size);
    if (image instanceof Float32Array) x.set(image, row * size);
    else for (let k = 0; k < size; k++) x[row * size + k] = BYTE_TO_UNIT[image[k]!]!;
  }
  return { x, y };
}

/**
 * Checks that the fields of a set agree and returns it; every reader and generator ends with this.
 *
 * @throws Error naming the set and the field at fault: sizes that do not multiply to the number of pixels, a label outside [0, classes).
 */
export function imageSet<Set extends ImageSet | VideoSet>(set: Set): Set {
  const where = `imageSet '${set.name}'`;
  const { count, frames = 1, height, width, channels, classes } = set;
  for (const [key, value] of Object.entries({ count, frames, height, width, channels, classes })) {
    checkNumber(`${where}: ${key}`, value, { integer: true, min: 1 });
  }
  const wanted = set.count * imageSize(set);
  if (set.pixels.length !== wanted)
    throw new Error(
      `${where}: wanted ${wanted} pixels ([${[count, ...(set.frames === undefined ? [] : [frames]), height, width, channels].join(', ')}]), got ${set.pixels.length}`,
    );
  if (set.labels.length !== set.count) throw new Error(`${where}: wanted ${set.count} labels, got ${set.labels.length}`);
  if (set.classNames.length !== set.classes) throw new Error(`${where}: wanted ${set.classes} class names, got ${set.classNames.length}`);
  const bad = set.labels.findIndex((label) => label < 0 || label >= set.classes);
  if (bad >= 0) throw new Error(`${where}: wanted labels in [0, ${set.classes}), got ${set.labels[bad]} for image ${bad}`);
  return set;
}

/**
 * Images or videos [from, to) of a set, as a view of the same memory.
 *
 * @throws Error unless 0 <= from < to <= N, whole numbers.
 */
export function slice<Set extends ImageSet | VideoSet>(set: Set, from: number, to: number): Set {
  if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || from >= to || to > set.count) {
    throw new Error(`slice: wanted whole numbers 0 <= from < to <= ${set.count}, got from ${from}, to ${to}`);
  }
  const size = imageSize(set);
  return imageSet({ ...set, count: to - from, pixels: set.pixels.subarray(from * size, to * size), labels: set.labels.subarray(from, to) });
}
