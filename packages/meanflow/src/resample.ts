import { affine, multiply, scaling, translation, type Affine } from './affine.ts';

/** Low-pass of the sym6 wavelet. */
const LOW_PASS = [
  0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466, 0.787641141030194,
  0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
];
export const TAPS = LOW_PASS.length;
/** Extra pixels around the output at whose expense the last filter runs; they are cut off. */
const RIM = TAPS / 4;

/**
 * Resamples one channel [H, W] by a map from output to input pixels (both measured from the centre of the image). The borders are reflected, the
 * low-pass filter doubles the resolution, values are read by bilinear interpolation, and the filter halves the resolution again.
 *
 * @param margins reflected borders [left, top, right, bottom] in pixels, each below the side
 */
export function resample(
  image: Float32Array,
  H: number,
  W: number,
  map: Affine,
  margins: readonly [number, number, number, number],
): Float32Array {
  const [left, top, right, bottom] = margins;
  const padded = reflect(image, H, W, margins);
  const [paddedH, paddedW] = [H + top + bottom, W + left + right];
  const [tallH, wideW] = [2 * paddedH, 2 * paddedW];
  const wide = new Float32Array(paddedH * wideW);
  for (let row = 0; row < paddedH; row++) upsample(padded, row * paddedW, 1, paddedW, wide, row * wideW, 1);
  const doubled = new Float32Array(tallH * wideW);
  for (let column = 0; column < wideW; column++) upsample(wide, column, wideW, paddedH, doubled, column, wideW);

  const [canvasH, canvasW] = [2 * (H + 2 * RIM), 2 * (W + 2 * RIM)];
  const doubledMap = multiply(
    translation(-0.5, -0.5),
    scaling(2, 2),
    translation((left - right) / 2, (top - bottom) / 2),
    map,
    scaling(0.5, 0.5),
    translation(0.5, 0.5),
  );
  const canvas = new Float32Array(canvasH * canvasW);
  for (let row = 0; row < canvasH; row++) {
    for (let column = 0; column < canvasW; column++) {
      const [x, y] = affine(doubledMap, column + 0.5 - canvasW / 2, row + 0.5 - canvasH / 2);
      canvas[row * canvasW + column] = bilinear(doubled, tallH, wideW, y + tallH / 2 - 0.5, x + wideW / 2 - 0.5);
    }
  }

  const narrow = new Float32Array(canvasH * W);
  for (let row = 0; row < canvasH; row++) downsample(canvas, row * canvasW, 1, canvasW, narrow, row * W, 1, W);
  const out = new Float32Array(H * W);
  for (let column = 0; column < W; column++) downsample(narrow, column, W, canvasH, out, column, W, H);
  return out;
}

/** Borders mirrored about the outermost pixels, which are not repeated. */
function reflect(
  image: Float32Array,
  H: number,
  W: number,
  [left, top, right, bottom]: readonly [number, number, number, number],
): Float32Array {
  const mirrored = (i: number, side: number): number => (i < 0 ? -i : i >= side ? 2 * (side - 1) - i : i);
  const width = W + left + right;
  const out = new Float32Array((H + top + bottom) * width);
  for (let row = 0; row < H + top + bottom; row++) {
    const from = mirrored(row - top, H) * W;
    for (let column = 0; column < width; column++) out[row * width + column] = image[from + mirrored(column - left, W)]!;
  }
  return out;
}

/** A line of n samples with zeros between them, convolved with the low-pass: n -> 2n. */
function upsample(from: Float32Array, start: number, stride: number, n: number, to: Float32Array, toStart: number, toStride: number): void {
  for (let i = 0; i < 2 * n; i++) {
    let sum = 0;
    // Sample j stands at 2j of the line with zeros; tap TAPS-1-k of the reversed filter meets position i + k - TAPS/2.
    for (let k = (i + TAPS / 2) % 2; k < TAPS; k += 2) {
      const j = (i + k - TAPS / 2) / 2;
      if (j >= 0 && j < n) sum += LOW_PASS[TAPS - 1 - k]! * from[start + j * stride]!;
    }
    to[toStart + i * toStride] = sum;
  }
}

/** A line of n samples correlated with the low-pass at every second position, without the rim at both ends: n -> n/2 - 2·RIM = count. */
function downsample(
  from: Float32Array,
  start: number,
  stride: number,
  n: number,
  to: Float32Array,
  toStart: number,
  toStride: number,
  count: number,
): void {
  for (let i = 0; i < count; i++) {
    let sum = 0;
    const first = 2 * (i + RIM) - (TAPS / 2 - 1);
    for (let k = 0; k < TAPS; k++) {
      const j = first + k;
      if (j >= 0 && j < n) sum += LOW_PASS[k]! * from[start + j * stride]!;
    }
    to[toStart + i * toStride] = sum;
  }
}

/** Linear interpolation between the four neighbours of (row, column), zero outside. */
function bilinear(image: Float32Array, H: number, W: number, row: number, column: number): number {
  const [r0, c0] = [Math.floor(row), Math.floor(column)];
  const [fr, fc] = [row - r0, column - c0];
  const at = (r: number, c: number): number => (r >= 0 && r < H && c >= 0 && c < W ? image[r * W + c]! : 0);
  return (1 - fr) * ((1 - fc) * at(r0, c0) + fc * at(r0, c0 + 1)) + fr * ((1 - fc) * at(r0 + 1, c0) + fc * at(r0 + 1, c0 + 1));
}
