import { Rng, useEngine } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { CONV_FEATURES, convFeatures, initConvFeatures } from '../src/index.ts';

beforeAll(() => useEngine());

type Image = { data: Float64Array; height: number; width: number; channels: number };

/** 3×3 convolution and ReLU by its definition, with the padding that TensorFlow calls 'same': in all max(0, 3 + (ceil(n/s) - 1)·s - n), the smaller half first. */
function convolve(image: Image, kernel: Float32Array, out: number, stride: number): Image {
  const { height: h, width: w, channels } = image;
  const [height, width] = [Math.ceil(h / stride), Math.ceil(w / stride)];
  const before = (size: number, reduced: number): number => Math.floor(Math.max(0, 3 + (reduced - 1) * stride - size) / 2);
  const [top, left] = [before(h, height), before(w, width)];
  const data = new Float64Array(height * width * out);
  for (let i = 0; i < height; i++)
    for (let j = 0; j < width; j++)
      for (let o = 0; o < out; o++) {
        let sum = 0;
        for (let k = 0; k < 9; k++) {
          const [y, x] = [i * stride + Math.floor(k / 3) - top, j * stride + (k % 3) - left];
          if (y < 0 || x < 0 || y >= h || x >= w) continue;
          for (let c = 0; c < channels; c++) sum += image.data[(y * w + x) * channels + c]! * kernel[(k * channels + c) * out + o]!;
        }
        data[(i * width + j) * out + o] = Math.max(0, sum);
      }
  return { data, height, width, channels: out };
}

describe('convFeatures', () => {
  it.each([
    [8, 8, 1],
    [5, 6, 3],
    [2, 1, 2],
  ])('of %s x %s x %s images are the pools of two convolutions by their definition', async (height, width, channels) => {
    const weights = initConvFeatures(new Rng(1), channels);
    const size = height * width * channels;
    const images = new Rng(2).normals(3 * size);
    const features = await convFeatures(weights, images, height, width);
    expect(features).toHaveLength(3 * CONV_FEATURES);
    for (let n = 0; n < 3; n++) {
      const input = { data: Float64Array.from(images.subarray(n * size, (n + 1) * size)), height, width, channels };
      const top = convolve(convolve(input, weights.kernel1, 32, 1), weights.kernel2, 48, 2);
      const pooled = (o: number): number[] => [...top.data].filter((_, i) => i % 48 === o);
      const means = Array.from({ length: 48 }, (_, o) => pooled(o).reduce((sum, v) => sum + v, 0) / (top.height * top.width));
      const maxima = Array.from({ length: 48 }, (_, o) => Math.max(...pooled(o)));
      expectClose(features.subarray(96 * n, 96 * n + 96), [...means, ...maxima], { max: 1e-5 });
    }
  });

  it('do not depend on how images fall into batches', async () => {
    const weights = initConvFeatures(new Rng(3), 1);
    const images = new Rng(4).normals(260 * 16);
    const all = await convFeatures(weights, images, 4, 4);
    const last = await convFeatures(weights, images.subarray(255 * 16), 4, 4);
    expectClose(all.subarray(255 * 96), last, { max: 1e-5 });
  });

  it('are functions of the seed, in proportion to the contrast', async () => {
    const images = new Rng(5).normals(2 * 64);
    const one = await convFeatures(initConvFeatures(new Rng(6), 1), images, 8, 8);
    expect(await convFeatures(initConvFeatures(new Rng(6), 1), images, 8, 8)).toEqual(one);
    expect(await convFeatures(initConvFeatures(new Rng(7), 1), images, 8, 8)).not.toEqual(one);
    const doubled = await convFeatures(
      initConvFeatures(new Rng(6), 1),
      images.map((v) => 2 * v),
      8,
      8,
    );
    expectClose(
      doubled,
      one.map((v) => 2 * v),
      { max: 1e-5 },
    );
  });

  it('leave no tensor behind', async () => {
    const weights = initConvFeatures(new Rng(8), 1);
    await expectNoLeak(() => convFeatures(weights, new Float32Array(64 * 3), 8, 8));
  });

  it('refuse bad arguments', async () => {
    expect(() => initConvFeatures(new Rng(1), 0)).toThrow('initConvFeatures: wanted channels to be a whole number of at least 1, got 0');
    const weights = initConvFeatures(new Rng(1), 3);
    await expect(convFeatures(weights, new Float32Array(64), 8, 8)).rejects.toThrow(
      'convFeatures: wanted images [N, 8, 8, 3], got 64 numbers',
    );
    await expect(convFeatures(weights, new Float32Array(0), 8, 8)).rejects.toThrow(
      'convFeatures: wanted images [N, 8, 8, 3], got 0 numbers',
    );
    await expect(convFeatures(weights, new Float32Array(64), 8, 0)).rejects.toThrow('convFeatures: wanted width');
  });
});
