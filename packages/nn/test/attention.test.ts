import fc from 'fast-check';
import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { checkLayer, expectClose } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { attention, mergeHeads, multiHeadSelfAttention, splitHeads } from '../src/index.ts';
import { hostAttention, hostSelfAttention } from './host.ts';

beforeAll(async () => {
  await useEngine();
});

const bounds = { value: 5e-6, derivative: 5e-5 };
const draw = (rng: Rng, name: string, shape: number[]): Tensor => rng.child(name).normal(shape);

describe('attention', () => {
  it('value, gradient, forward mode: queries and keys of different number, values of another width', () => {
    const size = fc.integer({ min: 1, max: 3 });
    fc.assert(
      fc.property(size, size, size, size, size, fc.integer(), (K, T, S, d, e, seed) => {
        const rng = new Rng(seed);
        const B = 2;
        const qkv = [draw(rng, 'q', [B, K, T, d]), draw(rng, 'k', [B, K, S, d]), draw(rng, 'v', [B, K, S, e])];
        const sizes = { B, K, T, S, d, e };
        checkLayer(
          (q, k, v) => attention(q!, k!, v!),
          (q, k, v) => hostAttention(q!, k!, v!, sizes, 1 / Math.sqrt(d)),
          qkv,
          rng,
          bounds,
        );
        checkLayer(
          (q, k, v) => attention(q!, k!, v!, { scale: 0.3 }),
          (q, k, v) => hostAttention(q!, k!, v!, sizes, 0.3),
          qkv,
          rng,
          bounds,
        );
      }),
      { numRuns: 5 },
    );
  });

  it('adds a float mask, one for each head, and carries its gradient', () => {
    const rng = new Rng(3);
    const sizes = { B: 2, K: 2, T: 3, S: 4, d: 2, e: 3 };
    const xs = [draw(rng, 'q', [2, 2, 3, 2]), draw(rng, 'k', [2, 2, 4, 2]), draw(rng, 'v', [2, 2, 4, 3]), draw(rng, 'bias', [2, 3, 4])];
    checkLayer(
      (q, k, v, mask) => attention(q!, k!, v!, { mask: mask! }),
      (q, k, v, mask) => hostAttention(q!, k!, v!, sizes, Math.SQRT1_2, (_, head, t, s) => mask![(head * 3 + t) * 4 + s]!),
      xs,
      rng,
      bounds,
    );
  });

  it('sees nothing through a false mask: masked keys change no output, bit for bit', () => {
    const rng = new Rng(8);
    const [q, k, v] = [draw(rng, 'q', [2, 1, 2, 3]), draw(rng, 'k', [2, 1, 4, 3]), draw(rng, 'v', [2, 1, 4, 3])];
    const mask = tf.tensor2d([1, 1, 0, 0, 1, 0, 1, 0], [2, 4], 'bool');
    const masked = attention(q!, k!, v!, { mask });
    const last = tf.tensor4d([0, 0, 0, 50], [1, 1, 4, 1]);
    expectClose(attention(q!, tf.add(k!, last), tf.sub(v!, last), { mask }), masked);
    const expected = hostAttention(
      Float64Array.from(q!.dataSync()),
      Float64Array.from(k!.dataSync()),
      Float64Array.from(v!.dataSync()),
      { B: 2, K: 1, T: 2, S: 4, d: 3, e: 3 },
      1 / Math.sqrt(3),
      (_b, _k, t, s) => (mask.dataSync()[t * 4 + s] ? 0 : -Infinity),
    );
    expectClose(masked.dataSync(), expected, { max: 3e-6 });
  });

  it('causal: value, gradient, forward mode, behind any number of earlier keys', () => {
    const rng = new Rng(4);
    for (const [T, S] of [
      [3, 3],
      [2, 5],
      [1, 4],
    ] as const) {
      const sizes = { B: 2, K: 2, T, S, d: 2, e: 3 };
      checkLayer(
        (q, k, v) => attention(q!, k!, v!, { causal: true }),
        (q, k, v) => hostAttention(q!, k!, v!, sizes, Math.SQRT1_2, (_b, _k, t, s) => (s <= t + S - T ? 0 : -Infinity)),
        [draw(rng, 'q', [2, 2, T, 2]), draw(rng, 'k', [2, 2, S, 2]), draw(rng, 'v', [2, 2, S, 3])],
        rng,
        bounds,
      );
    }
  });

  it('causal in tiles is as the whole with a mask, and later keys change no output, bit for bit', () => {
    const rng = new Rng(5);
    const [T, S] = [300, 321];
    const [q, k, v] = [draw(rng, 'q', [2, 2, T, 4]), draw(rng, 'k', [2, 2, S, 4]), draw(rng, 'v', [2, 2, S, 4])];
    const lower = Array.from({ length: T * S }, (_, i) => Number((i % S) - Math.floor(i / S) <= S - T));
    const mask = tf.tensor2d(lower, [T, S], 'bool');
    const causal = attention(q, k, v, { causal: true });
    expectClose(causal, attention(q, k, v, { mask }), { abs: 1e-5 });
    const moved = tf.concat([tf.zeros([2, 2, S - 100, 4]), tf.fill([2, 2, 100, 4], 7)], 2);
    const seen = [2, 2, T - 100, 4] as [number, number, number, number];
    const later = attention(q, tf.add(k, moved), tf.sub(v, moved), { causal: true });
    expectClose(tf.slice(later, [0, 0, 0, 0], seen), tf.slice(causal, [0, 0, 0, 0], seen));
  });

  it('causal with a mask over the keys is as if those were not there, in tiles too', () => {
    const rng = new Rng(6);
    for (const [T, S, absent] of [
      [1, 4, 2],
      [3, 7, 4],
      [300, 321, 21],
      [300, 321, 5],
    ] as const) {
      const [q, k, v] = [draw(rng, 'q', [2, 2, T, 4]), draw(rng, 'k', [2, 2, S, 4]), draw(rng, 'v', [2, 2, S, 3])];
      const mask = tf.tensor1d(
        Array.from({ length: S }, (_, s) => Number(s >= absent)),
        'bool',
      );
      const present = [k, v].map((x) => tf.slice(x, [0, 0, absent, 0], [2, 2, S - absent, -1])) as [Tensor, Tensor];
      expectClose(attention(q, k, v, { causal: true, mask }), attention(q, ...present, { causal: true }), { abs: 1e-5 });
    }
    const xs = [draw(rng, 'q', [2, 2, 2, 2]), draw(rng, 'k', [2, 2, 5, 2]), draw(rng, 'v', [2, 2, 5, 3])];
    const mask = tf.tensor1d([0, 1, 0, 1, 1], 'bool');
    checkLayer(
      (q, k, v) => attention(q!, k!, v!, { causal: true, mask }),
      (q, k, v) =>
        hostAttention(q!, k!, v!, { B: 2, K: 2, T: 2, S: 5, d: 2, e: 3 }, Math.SQRT1_2, (_b, _k, t, s) =>
          s <= t + 3 && s !== 0 && s !== 2 ? 0 : -Infinity,
        ),
      xs,
      rng,
      bounds,
    );
  });

  it('refuses what does not fit', () => {
    const q = tf.ones([2, 2, 3, 4]);
    expect(() => attention(q, tf.ones([2, 2, 2, 4]), tf.ones([2, 2, 2, 4]), { causal: true })).toThrow(
      'attention: causal: wanted at most as many queries as keys (2), got 3',
    );
    expect(() => attention(q, tf.ones([2, 2, 3, 5]), q)).toThrow('attention: k: wanted shape [B=2, K=2, S=3, d=4], got [2, 2, 3, 5]');
    expect(() => attention(q, q, tf.ones([2, 2, 4, 4]))).toThrow('attention: v: wanted shape [B=2, K=2, S=3, e], got [2, 2, 4, 4]');
    expect(() => attention(q, q, q, { scale: NaN })).toThrow('attention: scale: wanted a finite number, got NaN');
    expect(() => attention(q, q, q, { mask: tf.ones([3, 4]) })).toThrow(
      'attention: mask: wanted a shape that broadcasts to [2, 2, 3, 3], got [3, 4]',
    );
    expect(() => attention(q, q, q, { mask: tf.ones([3, 3], 'int32') })).toThrow('attention: mask: wanted bool or float32, got int32');
  });
});

describe('multiHeadSelfAttention', () => {
  it('value, gradient, forward mode', () => {
    const rng = new Rng(12);
    const [B, T, D, K] = [2, 3, 4, 2];
    const xs = [
      draw(rng, 'x', [B, T, D]),
      draw(rng, 'w', [3 * D, D]),
      draw(rng, 'b', [3 * D]),
      draw(rng, 'pw', [D, D]),
      draw(rng, 'pb', [D]),
    ];
    checkLayer(
      (x, w, b, pw, pb) => multiHeadSelfAttention({ qkv: { weight: w!, bias: b! }, proj: { weight: pw!, bias: pb! } }, x!, K),
      (x, qkvW, qkvB, projW, projB) => hostSelfAttention(x!, { qkvW: qkvW!, qkvB: qkvB!, projW: projW!, projB: projB! }, { B, T, D, K }),
      xs,
      rng,
      { value: 1e-5, derivative: 1e-4 },
    );
  });

  it('refuses what does not fit', () => {
    const p = { qkv: { weight: tf.ones([12, 4]), bias: tf.zeros([12]) }, proj: { weight: tf.ones([4, 4]), bias: tf.zeros([4]) } };
    expect(() => multiHeadSelfAttention(p, tf.ones([2, 3, 4]), 3)).toThrow(
      'multiHeadSelfAttention: wanted a number of heads that divides the width 4, got 3',
    );
    expect(() => multiHeadSelfAttention(p, tf.ones([2, 3, 4]), 0)).toThrow(
      'multiHeadSelfAttention: heads: wanted an integer at least 1, got 0',
    );
    expect(() => multiHeadSelfAttention(p, tf.ones([3, 4]), 2)).toThrow('multiHeadSelfAttention: x: wanted shape [B, T, D], got [3, 4]');
    expect(() => multiHeadSelfAttention(p, tf.ones([1, 3, 6]), 2)).toThrow(
      'multiHeadSelfAttention: qkv.weight: wanted shape [rows=18, D=6], got [12, 4]',
    );
  });
});

describe('heads', () => {
  it('splits and merges back, head by head', () => {
    const x = tf.range(0, 24).reshape([2, 2, 6]);
    const heads = splitHeads(x, 3);
    expect(heads.shape).toEqual([2, 3, 2, 2]);
    expectClose(heads.slice([0, 1], [1, 1]), tf.tensor4d([2, 3, 8, 9], [1, 1, 2, 2]));
    expectClose(mergeHeads(heads), x);
    expect(() => splitHeads(x, 4)).toThrow('splitHeads: wanted a number of heads that divides the width 6, got 4');
    expect(() => mergeHeads(x)).toThrow('mergeHeads: x: wanted shape [B, K, T, d], got [2, 2, 6]');
  });
});
