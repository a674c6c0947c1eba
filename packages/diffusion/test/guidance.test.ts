import fc from 'fast-check';
import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { guide, guidedNetwork, type GuidanceOptions, type LabelledPredictor } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

/** A network of ε̂ and v that is different for every label, image and time; it counts the rows that it has seen. */
function counting(): { network: LabelledPredictor; rows: number[] } {
  const rows: number[] = [];
  return {
    rows,
    network: (x, t, y) => {
      rows.push(x.shape[0]!);
      const row = tf.reshape(tf.add(tf.cast(y, 'float32'), tf.mul(t, 0.1)), [-1, 1, 1, 1]);
      return tf.concat([tf.sin(tf.add(x, row)), tf.cos(tf.mul(x, tf.add(row, 1)))], 3);
    },
  };
}

const C = 4;
const [t, y] = [(): Tensor => tf.tensor1d([0.3, 0.7]), (): Tensor => tf.tensor1d([1, 2], 'int32')];
const images = (seed: number): Tensor => new Rng(seed).normal([2, 2, 3, C]);
const channels = (output: Tensor, from: number, to: number): Tensor => tf.slice(output, [0, 0, 0, from], [-1, -1, -1, to - from]);

describe('guidedNetwork', () => {
  it('is affine in the scale, conditional at 1 and unconditional at 0 on the guided channels', () => {
    fc.assert(
      fc.property(fc.constantFrom<3 | 'all'>(3, 'all'), fc.double({ min: -2, max: 8, noNaN: true }), fc.integer(), (which, scale, seed) => {
        tf.tidy(() => {
          const { network } = counting();
          const x = images(seed);
          const at = (w: number): Tensor => guidedNetwork(network, { scale: w, channels: which, nullLabel: 3 })(x, t(), y());
          const [conditional, unconditional] = [network(x, t(), y()), network(x, t(), tf.fill([2], 3, 'int32'))];
          const count = which === 'all' ? C : 3;
          expectClose(channels(at(1), 0, count), channels(conditional, 0, count));
          expectClose(channels(at(0), 0, count), channels(unconditional, 0, count), { abs: 1e-6 });
          const expected = tf.add(tf.mul(conditional, scale), tf.mul(unconditional, 1 - scale));
          expectClose(channels(at(scale), 0, count), channels(expected, 0, count), { abs: 1e-5 });
          // Outputs that are not guided are those of the conditional network at every scale.
          expectClose(channels(at(scale), count, 2 * C), channels(conditional, count, 2 * C), { abs: 1e-6 });
        });
      }),
      { numRuns: 15 },
    );
  });

  it('evaluates the network once on a doubled batch; at scale 1 on the batch itself', () => {
    const { network, rows } = counting();
    const options = { channels: 'all', nullLabel: 3 } as const;
    expect(guidedNetwork(network, { ...options, scale: 1 })).toBe(network);
    guidedNetwork(network, { ...options, scale: 1 })(images(1), t(), y());
    guidedNetwork(network, { ...options, scale: 1.5 })(images(1), t(), y());
    expect(rows).toEqual([2, 4]);
  });

  it('guides networks without a variance, and images of any rank', () => {
    const network: LabelledPredictor = (x, _, labels) => tf.mul(x, tf.reshape(tf.cast(labels, 'float32'), [-1, 1]));
    const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
    const guided = guidedNetwork(network, { scale: 2, channels: 'all', nullLabel: 3 })(x, t(), y());
    // 3x + 2(yx - 3x) = (2y - 3)x
    expectClose(guided, [-1, -2, 3, 4]);
  });

  it('leaves no tensor behind', async () => {
    const { network } = counting();
    const guided = guidedNetwork((...at) => tf.tidy(() => network(...at)), { scale: 4, channels: 3, nullLabel: 3 });
    const [x, time, labels] = [images(2), t(), y()];
    await expectNoLeak(() => guided(x, time, labels));
  });

  it('refuses what does not fit', () => {
    const { network } = counting();
    const make = (change: object) => (): LabelledPredictor =>
      guidedNetwork(network, { scale: 2, channels: 3, nullLabel: 3, ...change } as GuidanceOptions);
    expect(make({ scale: NaN })).toThrow('guidedNetwork: scale: wanted a finite number, got NaN');
    expect(make({ channels: 4 })).toThrow("guidedNetwork: channels: wanted 3 or 'all', got 4");
    expect(make({ nullLabel: -1 })).toThrow('guidedNetwork: nullLabel: wanted an integer at least 0, got -1');
    expect(() => make({})()(tf.zeros([2, 2, 2, 1]), t(), y())).toThrow(
      "guidedNetwork: channels: wanted 'all' for an image of 1 channels, got 3",
    );
    expect(() => make({})()(images(3), tf.zeros([3]), y())).toThrow('guidedNetwork: t: wanted shape [B=2], got [3]');
    expect(() => make({})()(images(3), t(), tf.zeros([1], 'int32'))).toThrow('guidedNetwork: y: wanted shape [B=2], got [1]');
    expect(() => guide(tf.zeros([2, 4]), tf.zeros([2, 3]), { scale: 2, channels: 3 })).toThrow(
      'guide: unconditional: wanted shape [2, 4], got [2, 3]',
    );
    expect(() => guide(tf.zeros([2, 4]), tf.zeros([2, 4]), { scale: 2, channels: 5 })).toThrow(
      'guide: channels: wanted an integer at least 1 and at most 4, got 5',
    );
  });
});
