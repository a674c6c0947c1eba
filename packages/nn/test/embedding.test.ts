import fc from 'fast-check';
import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { checkLayer, expectClose } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  drawDroppedLabels,
  dropLabels,
  embedClass,
  embedPatches,
  embedTimestep,
  patchify,
  sinCosPositions,
  timestepEmbedding,
  unpatchify,
} from '../src/index.ts';
import { hostLinear, hostSilu, hostTimeFeatures } from './host.ts';

beforeAll(async () => {
  await useEngine();
});

const side = fc.integer({ min: 1, max: 4 });

describe('timestepEmbedding', () => {
  it('value, gradient, forward mode; even and odd dimensions', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 9 }), fc.integer(), (dim, seed) => {
        const rng = new Rng(seed);
        const host = (t: Float64Array): Float64Array => Float64Array.from(Array.from(t).flatMap((time) => hostTimeFeatures(time, dim, 50)));
        checkLayer(
          (t) => timestepEmbedding(t!, dim, { maxPeriod: 50 }),
          (t) => host(t!),
          [rng.child('t').normal([3])],
          rng,
        );
      }),
      { numRuns: 6 },
    );
  });

  it('cosines come first, with ones at t = 0; the squared length is half the dimension', () => {
    const features = timestepEmbedding(tf.tensor1d([0, 437.25, 999]), 256);
    expectClose(features.slice([0, 0], [1, 128]), new Float32Array(128).fill(1));
    expectClose(features.slice([0, 128], [1, 128]), new Float32Array(128));
    expectClose(tf.sum(tf.square(features), 1), [128, 128, 128], { abs: 1e-3 });
  });

  it('gives the DDPM++ features with sines first and the endpoint', () => {
    // f_k = 10000^(-k/(n/2-1)), [sin, cos].
    const features = timestepEmbedding(tf.tensor1d([0.7]), 6, { first: 'sin', endpoint: true });
    const angles = [0.7, 0.7 * 10000 ** -0.5, 0.7 / 10000];
    expectClose(features, [...angles.map(Math.sin), ...angles.map(Math.cos)], { abs: 1e-7 });
  });

  it('timestepEmbedder: scaled times, frequency features, linear, SiLU, linear', () => {
    const rng = new Rng(2);
    const xs = [
      rng.child('t').normal([2]),
      rng.child('w0').normal([3, 4]),
      rng.child('b0').normal([3]),
      rng.child('w2').normal([3, 3]),
      rng.child('b2').normal([3]),
    ];
    checkLayer(
      (t, w0, b0, w2, b2) => embedTimestep({ mlp: { 0: { weight: w0!, bias: b0! }, 2: { weight: w2!, bias: b2! } } }, t!, { timeScale: 5 }),
      (t, w0, b0, w2, b2) => {
        const features = Float64Array.from(Array.from(t!).flatMap((time) => hostTimeFeatures(5 * time, 4)));
        return hostLinear(hostLinear(features, w0!, b0!).map(hostSilu), w2!, b2!);
      },
      xs,
      rng,
      { value: 5e-6, derivative: 5e-5 },
    );
  });

  it('refuses what does not fit', () => {
    const t = tf.ones([2]);
    expect(() => timestepEmbedding(tf.ones([2, 1]), 4)).toThrow('timestepEmbedding: t: wanted shape [B], got [2, 1]');
    expect(() => timestepEmbedding(t, 1)).toThrow('timestepEmbedding: dim: wanted an integer at least 2, got 1');
    expect(() => timestepEmbedding(t, 2, { endpoint: true })).toThrow('timestepEmbedding: dim: wanted an integer at least 4, got 2');
    expect(() => timestepEmbedding(t, 4, { maxPeriod: 0 })).toThrow('timestepEmbedding: maxPeriod: wanted a finite number above 0, got 0');
    expect(() => timestepEmbedding(t, 4, { first: 'tan' as never })).toThrow("timestepEmbedding: first: wanted 'cos' or 'sin', got tan");
    const p = { mlp: { 0: { weight: tf.ones([3, 4]), bias: tf.ones([3]) }, 2: { weight: tf.ones([3, 3]), bias: tf.ones([3]) } } };
    expect(() => embedTimestep(p, t, { timeScale: Infinity })).toThrow('embedTimestep: timeScale: wanted a finite number, got Infinity');
  });
});

describe('sinCosPositions', () => {
  it('encodes the column in the first half, the row in the second, on any grid', () => {
    fc.assert(
      fc.property(side, side, fc.integer({ min: 1, max: 4 }), (h, w, quarter) => {
        const D = 4 * quarter;
        const table = sinCosPositions(h, w, D).dataSync();
        const expected: number[] = [];
        for (let i = 0; i < h; i++) {
          for (let j = 0; j < w; j++) {
            for (const position of [j, i]) {
              const angles = Array.from({ length: quarter }, (_, k) => position * 10000 ** (-k / quarter));
              expected.push(...angles.map(Math.sin), ...angles.map(Math.cos));
            }
          }
        }
        expectClose(table, expected, { abs: 1e-7 });
      }),
    );
  });

  it('tokens of one column have the same first half, tokens of one row the same second half; token 0 has sines 0 and cosines 1', () => {
    const [h, w, D] = [3, 4, 16];
    const table = sinCosPositions(h, w, D).arraySync() as number[][];
    for (let i = 0; i < h; i++) {
      for (let j = 0; j < w; j++) {
        expect(table[i * w + j]!.slice(0, D / 2)).toEqual(table[j]!.slice(0, D / 2));
        expect(table[i * w + j]!.slice(D / 2)).toEqual(table[i * w]!.slice(D / 2));
      }
    }
    expect(table[0]).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1]);
  });

  it('refuses what does not fit', () => {
    expect(() => sinCosPositions(0, 2, 8)).toThrow('sinCosPositions: h: wanted an integer at least 1, got 0');
    expect(() => sinCosPositions(2, 1.5, 8)).toThrow('sinCosPositions: w: wanted an integer at least 1, got 1.5');
    expect(() => sinCosPositions(2, 2, 6)).toThrow('sinCosPositions: D: wanted a multiple of 4, got 6');
  });
});

describe('class embedding', () => {
  it('picks rows; the gradient sums over equal labels', () => {
    const weight = new Rng(1).normal([4, 3]);
    const y = tf.tensor1d([3, 0, 3], 'int32');
    const rows = weight.arraySync() as number[][];
    expectClose(
      embedClass({ weight }, y),
      [3, 0, 3].flatMap((row) => rows[row]!),
    );
    const grad = tf.grad((w: Tensor) => tf.sum(tf.mul(embedClass({ weight: w }, y), tf.tensor2d([1, 1, 1, 2, 2, 2, 4, 4, 4], [3, 3]))))(
      weight,
    );
    expectClose(grad, [2, 2, 2, 0, 0, 0, 0, 0, 0, 5, 5, 5]);
  });

  it('drops labels to the null class', () => {
    const y = tf.tensor1d([2, 0, 1], 'int32');
    const out = dropLabels(y, tf.tensor1d([true, false, true], 'bool'), 3);
    expect(out.dtype).toBe('int32');
    expectClose(out, [3, 0, 3]);
    expectClose(dropLabels(y, tf.tensor1d([0, 1, 2], 'int32'), 3), [2, 3, 1]);
  });

  it('draws which labels are dropped with the given probability, and depends only on the stream', () => {
    const count = (probability: number): number =>
      Array.from(drawDroppedLabels(new Rng(5), 10_000, probability).dataSync()).reduce((sum, gone) => sum + gone, 0);
    expect([count(0), count(1)]).toEqual([0, 10_000]);
    expect(Math.abs(count(0.1) - 1000)).toBeLessThan(4 * Math.sqrt(900));
    expect(count(0.1)).toBe(count(0.1));
    expect(() => drawDroppedLabels(new Rng(5), 4, 1.5)).toThrow(
      'drawDroppedLabels: probability: wanted a finite number at least 0 and at most 1, got 1.5',
    );
  });

  it('refuses what does not fit', () => {
    const weight = tf.ones([4, 3]);
    const y = tf.tensor1d([2, 0], 'int32');
    expect(() => embedClass({ weight }, tf.ones([2]))).toThrow('embedClass: y: wanted int32 labels, got float32');
    expect(() => embedClass({ weight }, tf.ones([2, 1], 'int32'))).toThrow('embedClass: y: wanted shape [B], got [2, 1]');
    expect(() => embedClass({ weight: tf.ones([4]) }, y)).toThrow('embedClass: weight: wanted shape [rows, D], got [4]');
    expect(() => tf.tidy(() => embedClass({ weight }, tf.tensor1d([0, 4], 'int32')).dataSync())).toThrow();
    expect(() => dropLabels(y, tf.ones([2]), 3)).toThrow('dropLabels: dropped: wanted bool or int32 ids, got float32');
    expect(() => dropLabels(y, tf.ones([3], 'bool'), 3)).toThrow('dropLabels: dropped: wanted shape [B=2], got [3]');
    expect(() => dropLabels(tf.ones([2]), tf.ones([2], 'bool'), 3)).toThrow('dropLabels: y: wanted int32 labels, got float32');
    expect(() => dropLabels(y, tf.ones([2], 'bool'), 0)).toThrow('dropLabels: numClasses: wanted an integer at least 1, got 0');
  });
});

describe('patches', () => {
  it('come in row-major order, inside a patch row, column, channel; unpatchify restores the image', () => {
    fc.assert(
      fc.property(side, side, fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }), (h, w, P, C) => {
        const [B, H, W] = [2, h * P, w * P];
        const x = tf.range(0, B * H * W * C).reshape([B, H, W, C]);
        const tokens = patchify(x, P);
        expect(tokens.shape).toEqual([B, h * w, P * P * C]);
        const values = tokens.arraySync() as number[][][];
        for (let b = 0; b < B; b++)
          for (let t = 0; t < h * w; t++)
            for (let k = 0; k < P * P * C; k++) {
              const row = Math.floor(t / w) * P + Math.floor(k / (P * C));
              const column = (t % w) * P + (Math.floor(k / C) % P);
              expect(values[b]![t]![k]).toBe(((b * H + row) * W + column) * C + (k % C));
            }
        expectClose(unpatchify(tokens, { h, w, patchSize: P }), x);
      }),
      { numRuns: 12 },
    );
  });

  it('the embedding equals a convolution with the same stride', () => {
    const rng = new Rng(6);
    for (const [P, C, D, H, W] of [
      [2, 3, 4, 4, 6],
      [1, 3, 4, 2, 3],
    ] as const) {
      const [x, weight, bias] = [rng.child('x').normal([2, H, W, C]), rng.child('w').normal([D, C, P, P]), rng.child('b').normal([D])];
      const kernel = tf.transpose(weight, [2, 3, 1, 0]);
      const convolved = tf.add(tf.conv2d(x as never, kernel as never, P, 'valid'), bias);
      expectClose(embedPatches({ weight, bias }, x), tf.reshape(convolved, [2, (H / P) * (W / P), D]), { max: 1e-6 });
    }
  });

  it('refuses what does not fit', () => {
    expect(() => patchify(tf.ones([1, 4, 5, 3]), 2)).toThrow(
      'patchify: x: wanted height and width divisible by the patch size 2, got 4 and 5',
    );
    expect(() => patchify(tf.ones([4, 4, 3]), 2)).toThrow('patchify: x: wanted shape [B, H, W, C], got [4, 4, 3]');
    expect(() => patchify(tf.ones([1, 4, 4, 3]), 0)).toThrow('patchify: patchSize: wanted an integer at least 1, got 0');
    expect(() => unpatchify(tf.ones([1, 4, 8]), { h: 2, w: 3, patchSize: 2 })).toThrow(
      'unpatchify: tokens: wanted shape [B=1, T=6, size], got [1, 4, 8]',
    );
    expect(() => unpatchify(tf.ones([1, 4, 6]), { h: 2, w: 2, patchSize: 2 })).toThrow(
      'unpatchify: tokens: wanted a width divisible by patchSize² = 4, got 6',
    );
    expect(() => unpatchify(tf.ones([1, 4, 8]), { h: 2, w: 2, patchSize: 0 })).toThrow(
      'unpatchify: patchSize: wanted an integer at least 1, got 0',
    );
    const p = { weight: tf.ones([5, 3, 2, 2]), bias: tf.ones([5]) };
    expect(() => embedPatches(p, tf.ones([1, 4, 4, 2]))).toThrow('embedPatches: weight: wanted shape [D=5, C=2, P, Q], got [5, 3, 2, 2]');
    expect(() => embedPatches({ ...p, weight: tf.ones([5, 3, 2, 3]) }, tf.ones([1, 4, 4, 3]))).toThrow(
      'patchify: x: wanted height divisible by 2 and width by 3, got 4 and 4',
    );
    expect(embedPatches({ weight: tf.ones([5, 3, 2, 3]) }, tf.ones([1, 4, 6, 3])).shape).toEqual([1, 4, 5]);
  });
});
