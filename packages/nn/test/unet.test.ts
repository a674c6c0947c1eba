import { flattenTree, Rng, tf, treeMap, type Tensor } from '@atelier/tensor';
import { checkLayer, expectClose, expectGradients, expectNoLeak } from '@atelier/testkit';
import { everyEngine } from '@atelier/testkit/vitest';
import { expect, it } from 'vitest';
import {
  applySongUNet,
  decodeSongUNet,
  downsample,
  drawDropout,
  encodeSongUNet,
  initSongUNet,
  parameterCount,
  parseSongUNetConfig,
  songUNetFromStateDict,
  songUNetLayout,
  songUNetParameters,
  upsample,
  type SongUNetConfig,
  type SongUNetParams,
  type SongUNetSettings,
} from '../src/index.ts';

const small = {
  resolution: 8,
  inChannels: 2,
  outChannels: 3,
  numClasses: 3,
  augmentDim: 2,
  channels: 8,
  channelMult: [1, 2],
  embeddingMult: 2,
  blocks: 1,
  attentionResolutions: [4],
} satisfies SongUNetSettings;

/** One axis of length n -> n/2 (y_i = Σ f_k x_{2i+k-p}/Σf) or 2n (the transpose, times 2), by loops. */
function hostAxis(x: number[], filter: readonly number[], way: 'up' | 'down'): number[] {
  const [total, pad, n] = [filter.reduce((a, b) => a + b, 0), (filter.length - 2) / 2, x.length];
  const out = new Array<number>(way === 'down' ? n / 2 : 2 * n).fill(0);
  const few = Math.min(n, out.length);
  for (let i = 0; i < few; i++)
    filter.forEach((weight, k) => {
      const j = 2 * i + k - pad;
      if (j < 0 || j >= 2 * few) return;
      if (way === 'down') out[i]! += (weight * x[j]!) / total;
      else out[j]! += (2 * weight * x[i]!) / total;
    });
  return out;
}

function hostResample(x: Float64Array, [B, H, W, C]: number[], filter: readonly number[], way: 'up' | 'down'): Float64Array {
  const size = (n: number): number => (way === 'down' ? n / 2 : 2 * n);
  const [h, w] = [size(H!), size(W!)];
  const rows = new Float64Array(B! * h * W! * C!);
  const out = new Float64Array(B! * h * w * C!);
  for (let b = 0; b < B!; b++)
    for (let c = 0; c < C!; c++) {
      for (let j = 0; j < W!; j++) {
        const column = Array.from({ length: H! }, (_, i) => x[((b * H! + i) * W! + j) * C! + c]!);
        hostAxis(column, filter, way).forEach((value, i) => (rows[((b * h + i) * W! + j) * C! + c] = value));
      }
      for (let i = 0; i < h; i++) {
        const row = Array.from({ length: W! }, (_, j) => rows[((b * h + i) * W! + j) * C! + c]!);
        hostAxis(row, filter, way).forEach((value, j) => (out[((b * h + i) * w + j) * C! + c] = value));
      }
    }
  return out;
}

/** Parameters that are nowhere near 0, so that no branch is idle. */
function lively(rng: Rng, config: SongUNetConfig): SongUNetParams {
  const start = initSongUNet(rng.child('init'), config);
  const params = treeMap((leaf, path) => tf.tidy(() => tf.add(leaf, tf.mul(rng.child(path).normal(leaf.shape), 0.2))), start);
  tf.dispose(Object.values(flattenTree(start)));
  return params;
}

everyEngine(() => {
  it('resamples as the loops do, with gradient and forward derivative', () => {
    const rng = new Rng('resample');
    for (const filter of [
      [1, 1],
      [1, 3, 3, 1],
      [1, 2, 4, 4, 1, 1],
    ])
      for (const [way, layer] of [
        ['down', downsample],
        ['up', upsample],
      ] as const) {
        const shape = [2, 4, 6, 3];
        const x = rng.child(`${way} ${filter.join()}`).normal(shape);
        checkLayer(
          (image) => layer(image!, filter),
          (image) => hostResample(image!, shape, filter, way),
          [x],
          rng,
        );
      }
  });

  it('maps images with H != W, ignores the labels it is not given, and leaves nothing behind', async () => {
    const config = parseSongUNetConfig(small, 'test');
    const [rng, B] = [new Rng('unet'), 2];
    const params = lively(rng, config);
    const x = rng.child('x').normal([B, 4, 6, 2]);
    const times = [rng.child('t').normal([B])];
    const run = (inputs: { labels?: Tensor; augment?: Tensor }): Tensor =>
      tf.tidy(() => applySongUNet(params, x, { times, ...inputs }, config));
    const plain = run({});
    expect(plain.shape).toEqual([B, 4, 6, 3]);
    expectClose(run({ augment: tf.zeros([B, 2]) }), plain, { max: 1e-6 }, 'augmentation labels of 0');
    expectClose(run({ labels: tf.fill([B], 3, 'int32') }), plain, { max: 1e-6 }, 'the null label');
    const labelled = run({ labels: tf.tensor1d([0, 2], 'int32') });
    expectClose(run({ labels: tf.tensor2d([1, 0, 0, 0, 0, 1], [B, 3]) }), labelled, { max: 1e-6 }, 'classes as weights');
    expect(tf.max(tf.abs(tf.sub(labelled, plain))).dataSync()[0]).toBeGreaterThan(1e-3);
    await expectNoLeak(() => run({}));
  });

  it('has the gradient of the central difference in the image', () => {
    const config = parseSongUNetConfig({ ...small, resolution: 4, channels: 4, filter: [1, 3, 3, 1], attentionResolutions: [2] }, 'test');
    const rng = new Rng('gradient');
    const params = lively(rng, config);
    const cotangent = rng.child('w').normals(2 * 4 * 3);
    const f = (x: Tensor): Tensor => applySongUNet(params, x, { times: [tf.ones([1])] }, config);
    expectGradients(f, [rng.child('x').normal([1, 2, 4, 2])], { max: 1e-3, cotangent });
  });

  it('splits at the bottleneck', () => {
    const config = parseSongUNetConfig(small, 'test');
    const rng = new Rng('split');
    const params = lively(rng, config);
    const [x, inputs] = [rng.normal([2, 8, 8, 2]), { times: [tf.ones([2])] }];
    const features = encodeSongUNet(params, x, inputs, config);
    expect(features.skips.at(-1)!.shape).toEqual([2, 4, 4, 16]);
    expectClose(decodeSongUNet(params, features, inputs, config), applySongUNet(params, x, inputs, config), {}, 'in two halves');
  });

  it('drops what the factors drop', () => {
    const config = parseSongUNetConfig({ ...small, dropout: 0.25 }, 'test');
    const rng = new Rng('dropout');
    const params = lively(rng, config);
    const x = rng.child('x').normal([2, 8, 8, 2]);
    const times = [tf.ones([2])];
    const dropout = drawDropout(rng.child('factors'), config, [2, 8, 8]);
    expect(drawDropout(rng, { ...config, dropout: 0 }, [2, 8, 8])).toEqual({});
    const values = Object.values(dropout).flatMap((factors) => Array.from(factors.dataSync()));
    expect(new Set(values)).toEqual(new Set([0, Math.fround(4 / 3)]));
    const share = values.filter((value) => value === 0).length / values.length;
    expect(Math.abs(share - 0.25)).toBeLessThan(4 * Math.sqrt((0.25 * 0.75) / values.length));
    const plain = applySongUNet(params, x, { times }, config);
    const ones = treeMap((factors) => tf.onesLike(factors), dropout);
    expectClose(applySongUNet(params, x, { times, dropout: ones }, config), plain, {}, 'factors of 1');
    const dropped = applySongUNet(params, x, { times, dropout }, config);
    expect(tf.max(tf.abs(tf.sub(dropped, plain))).dataSync()[0]).toBeGreaterThan(1e-3);
    expectClose(applySongUNet(params, x, { times, dropout }, config), dropped, {}, 'the same factors again');
  });

  it('starts near the identity of its head and is named as the official network', () => {
    const config = parseSongUNetConfig(small, 'test');
    const params = initSongUNet(new Rng('start'), config);
    const out = applySongUNet(params, new Rng('x').normal([2, 8, 8, 2]), { times: [tf.zeros([2])] }, config);
    expect(tf.max(tf.abs(out)).dataSync()[0]).toBeLessThan(1e-3);
    const host = Object.fromEntries(
      Object.entries(flattenTree(params)).map(([name, leaf]) => [
        name,
        { dtype: 'float32' as const, shape: leaf.shape, data: leaf.dataSync() as Float32Array },
      ]),
    );
    const again = songUNetFromStateDict(host, config);
    expectClose(again.map_layer0.weight, params.map_layer0.weight, {}, 'read back');
    const filters = {
      'enc.4x4_down.conv0.resample_filter': {
        dtype: 'float32' as const,
        shape: [1, 1, 2, 2],
        data: Float32Array.of(0.25, 0.25, 0.25, 0.5),
      },
    };
    expect(() => songUNetFromStateDict({ ...host, ...filters }, config)).toThrow(/resample_filter: wanted the filter \[1, 1\]/);
    expect(() => songUNetFromStateDict({ ...host, extra: host['map_layer0.bias']! }, config)).toThrow('not of this model extra');
  });

  it('refuses what does not fit, in one sentence', () => {
    const config = parseSongUNetConfig(small, 'test');
    const params = initSongUNet(new Rng('bad'), config);
    const x = tf.zeros([2, 8, 8, 2]);
    const times = [tf.zeros([2])];
    const run =
      (image: Tensor, inputs: object): (() => Tensor) =>
      () =>
        applySongUNet(params, image, { times, ...inputs }, config);
    expect(run(tf.zeros([2, 5, 8, 2]), {})).toThrow('wanted H a multiple of 2, which 2 levels halve, got 5');
    expect(run(tf.zeros([2, 8, 8, 3]), {})).toThrow('C=2], got [2, 8, 8, 3]');
    expect(run(x, { times: [] })).toThrow('times: wanted 1 of them, got 0');
    expect(run(x, { labels: tf.zeros([2]) })).toThrow('labels: wanted int32 classes, got float32');
    expect(run(x, { labels: tf.zeros([3], 'int32') })).toThrow(/labels: wanted shape \[B=2\]/);
    expect(run(x, { augment: tf.zeros([2, 3]) })).toThrow(/augment: wanted shape \[B=2, A=2\]/);
    const bare = parseSongUNetConfig({ ...small, numClasses: 0, augmentDim: 0 }, 'test');
    const without = initSongUNet(new Rng('bare'), bare);
    expect(() => applySongUNet(without, x, { times, labels: tf.zeros([2], 'int32') }, bare)).toThrow('labels: wanted none');
    expect(() => applySongUNet(without, x, { times, augment: tf.zeros([2, 2]) }, bare)).toThrow('augment: wanted none');
    for (const bad of [{ resolution: 9 }, { channels: 6 }, { channelMult: [] }, { dropout: 1 }, { blocks: 0 }])
      expect(() => parseSongUNetConfig({ ...small, ...bad }, 'test')).toThrow(new RegExp(`test: ${Object.keys(bad)[0]}`));
    expect(() => downsample(tf.zeros([1, 3, 4, 1]), [1, 1])).toThrow('wanted an even H, got 3');
    expect(() => upsample(tf.zeros([1, 2, 2, 1]), [1, 2, 1])).toThrow('wanted an even number of weights');
  });
});

it('counts the parameters of the published networks', () => {
  const cifar = {
    resolution: 32,
    inChannels: 3,
    outChannels: 3,
    channels: 128,
    channelMult: [2, 2, 2],
    blocks: 4,
    attentionResolutions: [16],
  };
  const meanFlow = parseSongUNetConfig({ ...cifar, augmentDim: 6, noiseMult: 2, times: 2, filter: [1, 3, 3, 1], qkv: 'thirds' }, 'test');
  expect(parameterCount(songUNetParameters(meanFlow))).toBe(55_932_419);
  const layout = songUNetLayout(meanFlow);
  expect(layout.decoder.find(({ name }) => name === 'dec.32x32_block4')).toMatchObject({ inputs: 384, outputs: 256, skip: 128 });
});
