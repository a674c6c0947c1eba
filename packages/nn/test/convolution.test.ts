import fc from 'fast-check';
import { jvp, Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { centralDifference, checkLayer, expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  convolution,
  downsampleConvolution,
  downsampleMean,
  groupNorm,
  initParameters,
  spatialAttention,
  spatialAttentionParameters,
  upsampleConvolution,
  upsampleNearest,
  type ConvolutionParams,
  type SpatialAttentionParams,
} from '../src/index.ts';
import { hostSoftmax } from './host.ts';

beforeAll(async () => {
  await useEngine();
});

type Pads = readonly [readonly [number, number], readonly [number, number]];

/** Cross-correlation by loops: x [B, H, W, I], w [O, I, K, L], b [O]. */
function hostConvolution(
  x: Float64Array,
  w: Float64Array,
  b: Float64Array,
  [B, H, W, I, O, K, L]: readonly [number, number, number, number, number, number, number],
  stride: number,
  [[above, below], [left, right]]: Pads,
): Float64Array {
  const h = Math.floor((H + above + below - K) / stride) + 1;
  const v = Math.floor((W + left + right - L) / stride) + 1;
  const y = new Float64Array(B * h * v * O);
  for (let n = 0; n < B; n++)
    for (let i = 0; i < h; i++)
      for (let j = 0; j < v; j++)
        for (let o = 0; o < O; o++) {
          let sum = b[o]!;
          for (let k = 0; k < K; k++)
            for (let l = 0; l < L; l++) {
              const [r, c] = [i * stride + k - above, j * stride + l - left];
              if (r < 0 || r >= H || c < 0 || c >= W) continue;
              for (let q = 0; q < I; q++) sum += x[((n * H + r) * W + c) * I + q]! * w[((o * I + q) * K + k) * L + l]!;
            }
          y[((n * h + i) * v + j) * O + o] = sum;
        }
  return y;
}

function hostGroupNorm(x: Float64Array, [B, T, C]: readonly [number, number, number], groups: number, eps: number): Float64Array {
  const y = new Float64Array(x.length);
  const width = C / groups;
  for (let b = 0; b < B; b++)
    for (let g = 0; g < groups; g++) {
      const at: number[] = [];
      for (let t = 0; t < T; t++) for (let c = 0; c < width; c++) at.push((b * T + t) * C + g * width + c);
      const mean = at.reduce((sum, k) => sum + x[k]!, 0) / at.length;
      const variance = at.reduce((sum, k) => sum + (x[k]! - mean) ** 2, 0) / at.length;
      for (const k of at) y[k] = (x[k]! - mean) / Math.sqrt(variance + eps);
    }
  return y;
}

describe('convolution', () => {
  it.each<[string, number, number, number, Pads]>([
    [
      '3 x 3, zeros around',
      3,
      3,
      1,
      [
        [1, 1],
        [1, 1],
      ],
    ],
    [
      '2 x 3, uneven zeros',
      2,
      3,
      1,
      [
        [0, 1],
        [2, 0],
      ],
    ],
    [
      '3 x 3, stride 2, zeros below and to the right',
      3,
      3,
      2,
      [
        [0, 1],
        [0, 1],
      ],
    ],
    [
      '3 x 1, stride 3, none',
      3,
      1,
      3,
      [
        [0, 0],
        [0, 0],
      ],
    ],
    [
      '1 x 1',
      1,
      1,
      1,
      [
        [0, 0],
        [0, 0],
      ],
    ],
    [
      '1 x 1, stride 2',
      1,
      1,
      2,
      [
        [0, 0],
        [0, 0],
      ],
    ],
  ])('%s: value and all gradients', (_, K, L, stride, padding) => {
    const rng = new Rng(`convolution ${K} ${L} ${stride}`);
    const [B, H, W, I, O] = [2, 5, 6, 3, 4];
    const xs = [rng.child('x').normal([B, H, W, I]), rng.child('w').normal([O, I, K, L]), rng.child('b').normal([O])];
    const layer = (x: Tensor, weight: Tensor, bias: Tensor): Tensor => convolution({ weight, bias }, x, { stride, padding });
    const host = (x: Float64Array, w: Float64Array, b: Float64Array): Float64Array =>
      hostConvolution(x, w, b, [B, H, W, I, O, K, L], stride, padding);
    const points = xs.map((x) => Float64Array.from(x.dataSync()));
    const value = layer(xs[0]!, xs[1]!, xs[2]!);
    expectClose(value.dataSync(), host(points[0]!, points[1]!, points[2]!), { max: 3e-6 });
    const cotangent = rng.child('cotangent').normal(value.shape);
    const { grads } = tf.valueAndGrads(layer as (...of: Tensor[]) => Tensor)(xs, cotangent);
    const expected = centralDifference(host as (...of: Float64Array[]) => Float64Array, points, { cotangent: cotangent.dataSync() });
    grads.forEach((grad, i) => expectClose(grad.dataSync(), expected[i]!, { max: 2e-5 }, `gradient of input ${i}`));
    const direction = rng.child('direction').normal([B, H, W, I]);
    const forward = jvp((x) => layer(x, xs[1]!, xs[2]!), [xs[0]!], [direction]);
    const zero = new Float64Array(O);
    expectClose(forward.tangent.dataSync(), host(Float64Array.from(direction.dataSync()), points[1]!, zero), { max: 2e-5 }, 'tangent');
  });

  it('says what does not fit', () => {
    const rng = new Rng('bad convolution');
    const p = { weight: rng.normal([4, 3, 3, 3]), bias: rng.normal([4]) };
    const x = rng.normal([1, 5, 5, 3]);
    expect(() => convolution(p, rng.normal([1, 5, 5, 2]))).toThrow('convolution: x: wanted shape [B=1, H=5, W=5, I=3], got [1, 5, 5, 2]');
    expect(() => convolution({ weight: p.weight, bias: tf.zeros([3]) }, x)).toThrow('convolution: bias: wanted shape [O=4], got [3]');
    expect(() => convolution(p, rng.normal([1, 2, 5, 3]))).toThrow(
      'convolution: x: wanted at least 3 x 3 pixels with the padding, got 2 x 5',
    );
    expect(() => convolution(p, x, { stride: 0 })).toThrow('convolution: stride: wanted an integer at least 1, got 0');
    expect(() => convolution(p, x, { padding: -1 })).toThrow('convolution: padding: wanted an integer at least 0, got -1');
  });
});

describe('group norm', () => {
  it('value, gradient and forward mode; groups of any width', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer(),
        (B, G, n, seed) => {
          const rng = new Rng(seed);
          const C = G * n;
          const [H, W] = [2, 3];
          const x = rng.child('x').normal([B, H, W, C]);
          const [weight, bias] = [rng.child('weight').normal([C]), rng.child('bias').normal([C])];
          const affine = (y: Float64Array, w: Float64Array, b: Float64Array): Float64Array => y.map((v, i) => v * w[i % C]! + b[i % C]!);
          checkLayer(
            (v, w, b) => groupNorm({ weight: w!, bias: b! }, v!, { groups: G, eps: 1e-2 }),
            (v, w, b) => affine(hostGroupNorm(v!, [B, H * W, C], G, 1e-2), w!, b!),
            [x, weight, bias],
            rng,
          );
        },
      ),
      { numRuns: 6 },
    );
  });

  it('says what does not fit', () => {
    const p = { weight: tf.ones([4]), bias: tf.zeros([4]) };
    expect(() => groupNorm(p, tf.ones([1, 2, 4]), { groups: 3, eps: 1e-6 })).toThrow(
      'groupNorm: groups: wanted a divisor of the 4 channels, got 3',
    );
    expect(() => groupNorm(p, tf.ones([1, 2, 6]), { groups: 3, eps: 1e-6 })).toThrow('groupNorm: weight: wanted shape [C=6], got [4]');
    expect(() => groupNorm(p, tf.ones([4]), { groups: 2, eps: 1e-6 })).toThrow('groupNorm: x: wanted shape [B, …, C], got [4]');
  });
});

describe('up- and downsampling', () => {
  it('repeats pixels, and averages blocks back to them', () => {
    const x = tf.tensor4d([1, 2, 3, 4, 5, 6], [1, 2, 3, 1]);
    expectClose(upsampleNearest(x), tf.tensor4d([1, 1, 2, 2, 3, 3, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 4, 4, 5, 5, 6, 6], [1, 4, 6, 1]));
    const image = new Rng('blocks').normal([2, 3, 4, 3]);
    expectClose(downsampleMean(upsampleNearest(image, 3), 3), image, { abs: 1e-6 });
    expect(() => downsampleMean(x)).toThrow('downsampleMean: x: wanted W a multiple of 2, got 3');
    // The gradient of repeating is summing, that of averaging is spreading.
    const dy = new Rng('dy').normal([2, 6, 8, 3]);
    const up = tf.valueAndGrads((v: Tensor) => upsampleNearest(v))([image], dy).grads[0]!;
    expectClose(up, tf.mul(downsampleMean(dy), 4), { abs: 1e-5 });
    const down = tf.valueAndGrads((v: Tensor) => downsampleMean(v))([dy], image).grads[0]!;
    expectClose(down, tf.div(upsampleNearest(image), 4), { abs: 1e-6 });
  });

  it('with convolutions: doubles and halves, odd sides rounded down', () => {
    const rng = new Rng('resize');
    const conv: ConvolutionParams = { weight: rng.normal([4, 3, 3, 3]), bias: rng.normal([4]) };
    const x = rng.normal([2, 5, 6, 3]);
    expectClose(upsampleConvolution({ conv }, x), convolution(conv, upsampleNearest(x), { padding: 1 }));
    expect(upsampleConvolution({ conv }, x).shape).toEqual([2, 10, 12, 4]);
    expect(downsampleConvolution({ conv }, x).shape).toEqual([2, 2, 3, 4]);
  });
});

describe('spatial attention', () => {
  const [B, H, W, C] = [2, 2, 3, 4];
  const host = (
    x: Float64Array,
    nw: Float64Array,
    nb: Float64Array,
    qw: Float64Array,
    qb: Float64Array,
    pw: Float64Array,
    pb: Float64Array,
  ) => {
    const T = H * W;
    const normal = hostGroupNorm(x, [B, T, C], 2, 1e-6).map((v, i) => v * nw[i % C]! + nb[i % C]!);
    const dense = (v: Float64Array, w: Float64Array, b: Float64Array): Float64Array =>
      hostConvolution(v, w, b, [B, H, W, C, b.length, 1, 1], 1, [
        [0, 0],
        [0, 0],
      ]);
    const qkv = dense(normal, qw, qb);
    const mixed = new Float64Array(B * T * C);
    for (let b = 0; b < B; b++) {
      const at = (t: number, part: number, c: number): number => qkv[(b * T + t) * 3 * C + part * C + c]!;
      const logits = new Float64Array(T * T);
      for (let s = 0; s < T; s++)
        for (let t = 0; t < T; t++) for (let c = 0; c < C; c++) logits[s * T + t]! += (at(s, 0, c) * at(t, 1, c)) / Math.sqrt(C);
      const weights = hostSoftmax(logits, T);
      for (let s = 0; s < T; s++)
        for (let t = 0; t < T; t++) for (let c = 0; c < C; c++) mixed[(b * T + s) * C + c]! += weights[s * T + t]! * at(t, 2, c);
    }
    return dense(mixed, pw, pb).map((v, i) => v + x[i]!);
  };

  it('value, gradients and forward mode', () => {
    const rng = new Rng('spatial');
    const shapes = [[B, H, W, C], [C], [C], [3 * C, C, 1, 1], [3 * C], [C, C, 1, 1], [C]];
    const xs = shapes.map((shape, i) => rng.child(i).normal(shape));
    checkLayer(
      (x, nw, nb, qw, qb, pw, pb) =>
        spatialAttention({ norm: { weight: nw!, bias: nb! }, qkv: { weight: qw!, bias: qb! }, proj_out: { weight: pw!, bias: pb! } }, x!, {
          groups: 2,
          eps: 1e-6,
        }),
      host as (...of: Float64Array[]) => Float64Array,
      xs,
      rng,
      { value: 5e-6, derivative: 5e-5 },
    );
  });

  it('leaves nothing behind', async () => {
    const p = initParameters(new Rng('leak'), spatialAttentionParameters('a', C)) as { a: SpatialAttentionParams };
    const x = new Rng('x').normal([B, H, W, C]);
    await expectNoLeak(() => tf.tidy(() => spatialAttention(p.a, x, { groups: 2, eps: 1e-6 })));
  });
});
