import { Rng, type HostTensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { describe, expect, it } from 'vitest';
import { augmentImages, cifarAugmentGates, drawAugmentation, type AugmentDraws } from '../src/index.ts';

const never = { flip: 0, scale: 0, stretch: 0, angle: 0, shift: 0 };

/** Smooth images [B, H, W, 3], H not W. */
function images(batch: number, H = 12, W = 16): HostTensor {
  const data = Float32Array.from({ length: batch * H * W * 3 }, (_, k) => {
    const [channel, column, row] = [k % 3, Math.floor(k / 3) % W, Math.floor(k / (3 * W)) % H];
    return Math.sin(0.4 * row + channel) + Math.cos(0.3 * column);
  });
  return { dtype: 'float32', shape: [batch, H, W, 3], data };
}

/** Draws for one image that change nothing, except those that are given. */
const draws = (some: Partial<AugmentDraws>): AugmentDraws => ({
  ...{ flip: [0], flipGate: [0], scaleNormal: [0], scaleGate: [0], stretchNormal: [0], stretchGate: [0] },
  ...{ angle: [0.5], angleGate: [0], shiftNormal: [0, 0], shiftGate: [0] },
  ...some,
});
const pixel = ({ shape, data }: HostTensor, row: number, column: number, channel: number): number =>
  data[(row * shape[2]! + column) * 3 + channel]!;

describe('the augmentation', () => {
  it('with draws that change nothing returns the images', () => {
    const original = images(2);
    const out = augmentImages(original, drawAugmentation(new Rng(1), 2), never);
    // The two low-pass filters reconstruct up to the interpolation between doubled pixels.
    expectClose(out.images, original, { abs: 1e-4 });
    expectClose(out.labels, new Float32Array(12), {});
  });

  it('mirrors columns, and sets the first label to 1', () => {
    const original = images(1);
    const { images: out, labels } = augmentImages(original, draws({ flip: [1] }), { ...never, flip: 1 });
    for (const [row, column, channel] of [
      [0, 0, 0],
      [5, 3, 1],
      [11, 15, 2],
    ] as const)
      expect(pixel(out, row, column, channel)).toBeCloseTo(pixel(original, row, 15 - column, channel), 3);
    expect(Array.from(labels.data)).toEqual([1, 0, 0, 0, 0, 0]);
  });

  it('shifts to the right and down by an eighth of the side per unit', () => {
    const original = images(1, 16, 16);
    const { images: out, labels } = augmentImages(original, draws({ shiftNormal: [1, 0.5] }), { ...never, shift: 1 });
    for (const [row, column, channel] of [
      [5, 5, 0],
      [9, 12, 1],
      [15, 15, 2],
    ] as const)
      expect(pixel(out, row, column, channel)).toBeCloseTo(pixel(original, row - 1, column - 2, channel), 2);
    expect(Array.from(labels.data)).toEqual([0, 0, 0, 0, 1, 0.5]);
  });

  it('stretches along the drawn axis and labels it by cosine and sine', () => {
    const { labels } = augmentImages(images(1), draws({ stretchNormal: [2], angle: [0.75], scaleNormal: [-1] }), {
      ...never,
      stretch: 1,
      angle: 1,
      scale: 1,
    });
    expectClose(labels, [0, -1, 2 * Math.cos(Math.PI / 2), 2, 0, 0], { abs: 1e-6 });
  });

  it('keeps constant images constant, also at the borders, for any draws', () => {
    const flat: HostTensor = { dtype: 'float32', shape: [4, 8, 10, 3], data: new Float32Array(4 * 8 * 10 * 3).fill(0.7) };
    const { images: out } = augmentImages(flat, drawAugmentation(new Rng(5), 4), { flip: 1, scale: 1, stretch: 1, angle: 1, shift: 0.5 });
    expectClose(out, flat, { abs: 5e-3 });
  });

  it('applies each transform with its probability', () => {
    const n = 4000;
    const tiny: HostTensor = { dtype: 'float32', shape: [n, 2, 2, 1], data: new Float32Array(n * 4) };
    const { labels } = augmentImages(tiny, drawAugmentation(new Rng(9), n));
    const shareOf = (label: number): number =>
      Array.from({ length: n }, (_, i) => labels.data[6 * i + label]! !== 0).filter(Boolean).length / n;
    const wanted = [
      0.5,
      cifarAugmentGates.scale,
      cifarAugmentGates.stretch,
      cifarAugmentGates.stretch / 2,
      cifarAugmentGates.shift,
      cifarAugmentGates.shift,
    ];
    wanted.forEach((p, label) => expect(Math.abs(shareOf(label) - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / n)));
  });
});

describe('bad input', () => {
  it.each([
    [
      'whole-number images',
      () => augmentImages({ dtype: 'int32', shape: [1, 4, 4, 1], data: new Int32Array(16) }, draws({})),
      /images: wanted float32 \[B, H, W, C\], got int32/,
    ],
    [
      'images without a batch axis',
      () => augmentImages({ dtype: 'float32', shape: [4, 4, 1], data: new Float32Array(16) }, draws({})),
      /got float32 \[4, 4, 1\]/,
    ],
    [
      'a side of one pixel',
      () => augmentImages({ dtype: 'float32', shape: [1, 1, 4, 1], data: new Float32Array(4) }, draws({})),
      /sides of at least 2 pixels, got 1 x 4/,
    ],
    ['draws of another batch', () => augmentImages(images(2), draws({})), /draws.flip: wanted 2 numbers, got 1/],
    [
      'a probability above 1',
      () => augmentImages(images(1), draws({}), { ...never, scale: 12 }),
      /gates.scale: wanted a probability in \[0, 1\], got 12/,
    ],
    ['an empty batch', () => drawAugmentation(new Rng(0), 0), /drawAugmentation: batch: wanted a whole number of at least 1, got 0/],
  ])('%s are refused', (_, call, message) => expect(call).toThrow(message));
});
