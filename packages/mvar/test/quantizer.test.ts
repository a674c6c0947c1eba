import { discsAndBoxes, gather } from '@atelier/datasets';
import { Rng, tf, useEngine, valueAndGrad, type Tree } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  areaMap,
  areaResample,
  bicubicMap,
  bicubicResample,
  dctImages,
  dctLatents,
  fitCodebook,
  initTokenizer,
  phiIndices,
  quantize,
  quantizerConfig,
  reconstruct,
  splitMaps,
  tokenize,
  tokenizerLoss,
  type AxisMap,
  type TokenizerParams,
} from '../src/index.ts';
import { coding, drawnQuantizer } from './networks.ts';

beforeAll(async () => {
  await useEngine();
});

const rowSums = ({ rows, columns, data }: AxisMap): number[] =>
  Array.from({ length: rows }, (_, i) => data.subarray(i * columns, (i + 1) * columns).reduce((a, b) => a + b, 0));
const isIdentity = ({ rows, columns, data }: AxisMap): boolean =>
  rows === columns && data.every((value, i) => value === (i % (rows + 1) === 0 ? 1 : 0));

describe('invariant 9: resampling', () => {
  it('keeps constants; to its own side it is the identity; one pixel becomes a constant', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 20 }), (a, b) => {
        const [H, p] = [Math.max(a, b), Math.min(a, b)];
        for (const map of [areaMap(H, p), bicubicMap(p, H)]) for (const sum of rowSums(map)) expect(Math.abs(sum - 1)).toBeLessThan(1e-6);
        expect(isIdentity(areaMap(H, H))).toBe(true);
        expect(isIdentity(bicubicMap(H, H))).toBe(true);
      }),
      { numRuns: 50 },
    );
    const x = new Rng('pixel').normal([2, 1, 1, 3]);
    expectClose(bicubicResample(x, 5), tf.tile(x, [1, 5, 5, 1]), { abs: 1e-6 });
    const image = new Rng('mean').normal([2, 6, 6, 3]);
    expectClose(areaResample(image, 1), tf.mean(image, [1, 2], true), { abs: 1e-6 });
    expectClose(areaResample(image, 3), tf.avgPool(image as never, 2, 2, 'valid'), { abs: 1e-6 });
  });
});

describe('the table of convolutions', () => {
  it('of the released tokenizers is 0, 0, 1, 1, 1, 2, 2, 3, 3, 3', () => {
    expect(phiIndices(10, 4)).toEqual([0, 0, 1, 1, 1, 2, 2, 3, 3, 3]);
    expect(phiIndices(10, 1)).toEqual(new Array(10).fill(0));
    expect(phiIndices(6, 0)).toEqual([0, 1, 2, 3, 4, 5]);
  });
});

describe('invariant 8: quantizing', () => {
  it.each([true, false])('tokens say what encoding had; what is left and what is said make the latent (Φ: %s)', (withPhi) => {
    const config = { ...coding, ratio: withPhi ? 0.5 : 0 };
    const p = drawnQuantizer(config, 'quantize');
    const f = new Rng('latent').normal([3, 6, 6, 3]);
    const { indices, reconstructions } = quantize(p, f, config);
    reconstruct(p, indices, config).forEach((value, l) => expectClose(value, reconstructions[l]!, { abs: 1e-5 }));
    splitMaps(tf.concat(indices, 1), config.ladder).forEach((map, l) => expectClose(map, indices[l]!, {}));
    // Each scale takes the code nearest to what is left: with code 0 the zero vector no scale makes it larger at its own side.
    const rest = tf.sub(f, reconstructions.at(-1)!);
    expectClose(tf.add(reconstructions.at(-1)!, rest), f, { abs: 1e-6 });
  });
});

describe('the tokenizer without training', () => {
  it('is exact with all coefficients, and keeps blocks apart', () => {
    const x = new Rng('dct').normal([2, 8, 12, 3]);
    const all = { block: 4, coefficients: 16, deviation: 0.7 };
    expectClose(dctImages(dctLatents(x, all), all), x, { abs: 1e-5 });
    const few = { block: 4, coefficients: 3, deviation: 1 };
    const latents = dctLatents(x, few);
    expect(latents.shape).toEqual([2, 2, 3, 9]);
    // The first coefficient is the mean of the block, times the block's side.
    expectClose(tf.slice(latents, [0, 0, 0, 0], [2, 2, 3, 1]), tf.mul(tf.avgPool(tf.slice(x, [0, 0, 0, 0], [2, 8, 12, 1]) as never, 4, 4, 'valid'), 4), { abs: 1e-5 }); // prettier-ignore
    expectClose(dctImages(latents, few), dctImages(dctLatents(dctImages(latents, few), few), few), { abs: 1e-5 });
  });

  it('finds codes by k-means, the first of them zero', () => {
    const rng = new Rng('codebook');
    const set = discsAndBoxes(rng.child('set'), 64, 16);
    const settings = { block: 2, coefficients: 3, deviation: 0.8 };
    const f = dctLatents(
      tf.tensor(
        gather(
          set,
          Int32Array.from({ length: 64 }, (_, i) => i),
        ).x,
        [64, 16, 16, 3],
      ),
      settings,
    );
    const config = quantizerConfig.parse({ ladder: [1, 2, 4, 8], codes: 32, channels: 9, ratio: 0 });
    const p = fitCodebook(f, config, rng, { rounds: 4, drawn: 1500, steps: 2 });
    expectClose(tf.slice(p.embedding.weight, [0, 0], [1, 9]), tf.zeros([1, 9]), {});
    const error = (q: typeof p): number => {
      const last = quantize(q, f, config).reconstructions.at(-1)!;
      return tf.sqrt(tf.div(tf.sum(tf.square(tf.sub(last, f))), tf.sum(tf.square(f)))).dataSync()[0]!;
    };
    const random = { embedding: { weight: tf.concat([tf.zeros([1, 9]), rng.child('random').normal([31, 9])], 0) } };
    expect(error(p)).toBeLessThan(0.6 * error(random));
    expect(() => fitCodebook(f, { ...config, ratio: 0.5 }, rng)).toThrow(
      'fitCodebook: ratio: wanted 0, for Φ is not trained here, got 0.5',
    );
  });
});

describe('a tokenizer that is trained', () => {
  const settings = {
    autoencoder: { imageChannels: 3, latentChannels: 4, width: 8, multipliers: [1, 2], blocks: 1, groups: 4 },
    quantizer: { ladder: [1, 2, 4], codes: 16, channels: 4 },
  };
  const images = new Rng('images').normal([2, 8, 8, 3]);

  it('gets a gradient for every parameter', () => {
    const p = initTokenizer(new Rng('tokenizer'), settings) as unknown as Tree;
    const { loss, grads } = valueAndGrad((q: Tree) => {
      const found = tokenizerLoss(q as unknown as TokenizerParams, images, settings);
      return { loss: found.loss, aux: { pixels: found.pixels } };
    }, p);
    expect(Number.isFinite(loss.dataSync()[0])).toBe(true);
    const { encoder, decoder, quantize: codes } = grads as unknown as TokenizerParams;
    for (const part of [
      encoder.conv_in.weight,
      encoder.down[1]!.attn![0]!.qkv.weight,
      decoder.up[1]!.upsample!.conv.weight,
      codes.embedding.weight,
    ])
      expect(tf.max(tf.abs(part)).dataSync()[0]).toBeGreaterThan(0);
  });

  it('makes tokens of images, and leaves nothing behind', async () => {
    const p = initTokenizer(new Rng('tokenizer'), settings);
    expect(tokenize(p, images, settings).indices.map(({ shape }) => shape)).toEqual([
      [2, 1],
      [2, 4],
      [2, 16],
    ]);
    await expectNoLeak(() => tf.tidy(() => tokenize(p, images, settings).reconstructions.at(-1)!));
  });
});
