import { initDiT, type DiTParams } from '@atelier/nn';
import { Rng, tf, treeMap, useEngine } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { attentionProfile, meanDistance, seamRatio, shareWithin } from '../src/index.ts';

const dit = { inChannels: 3, patchSize: 2, width: 16, depth: 2, heads: 4, frequencySize: 8 };
beforeAll(async () => {
  await useEngine();
});

describe('attention by distance', () => {
  const image = () => new Rng('profile').normal([2, 8, 12, 3]);
  const at = () => ({ t: tf.tensor1d([10, 900]) });

  it('is spread like the pairs of tokens where queries are 0', async () => {
    const params = initDiT(new Rng('uniform'), dit);
    for (const block of params.blocks) block.attn.qkv.weight = tf.zeros([48, 16]);
    const { distances, mass, uniform } = await attentionProfile(params, image(), at(), dit, { metric: 'chebyshev' });
    expect(distances).toEqual([0, 1, 2, 3, 4, 5]);
    // Ordered pairs that are no further than 0, 1, … from each other: of rows times of columns.
    const upTo = [4 * 6, 10 * 16, 14 * 24, 16 * 30, 16 * 34, 16 * 36];
    const wanted = upTo.map((count, r) => (count - (upTo[r - 1] ?? 0)) / 576);
    expectClose(uniform, wanted, { abs: 1e-12 });
    expect(mass.flat()).toHaveLength(8);
    for (const shares of mass.flat()) expectClose(shares, uniform, { abs: 1e-6 });
  });

  it('sums to 1 and agrees with the attention matrix', async () => {
    const params = treeMap((leaf, path) => tf.mul(new Rng(path).normal(leaf.shape), 0.4), initDiT(new Rng('random'), dit)) as DiTParams;
    const { distances, mass, uniform } = await attentionProfile(params, image(), at(), dit, { metric: 'euclidean' });
    expect(distances.slice(0, 4)).toEqual([0, 1, Math.SQRT2, 2]);
    expect(distances.at(-1)).toBe(Math.hypot(3, 5));
    for (const shares of mass.flat()) {
      expect(shares.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5);
      expect(meanDistance(distances, shares)).toBeGreaterThan(0);
      expect(shareWithin(distances, shares, 6)).toBeCloseTo(1, 5);
      expect(shareWithin(distances, shares, 0)).toBeCloseTo(shares[0]!, 12);
    }
    expect(Math.max(...mass[0]![0]!.map((share, i) => Math.abs(share - uniform[i]!)))).toBeGreaterThan(1e-3);
  });

  it('a head that sees only its own token has distance 0', async () => {
    const params = initDiT(new Rng('self'), { ...dit, depth: 1, heads: 1 });
    // Positions are what tells tokens apart: with large logits q·k = 400·|u|² each token finds itself.
    const block = params.blocks[0]!;
    block.attn.qkv.weight = tf.concat([tf.mul(tf.eye(16), 20), tf.mul(tf.eye(16), 20), tf.eye(16)], 0);
    const { distances, mass } = await attentionProfile(params, image(), at(), { ...dit, depth: 1, heads: 1 }, { metric: 'chebyshev' });
    expect(shareWithin(distances, mass[0]![0]!, 0)).toBeGreaterThan(0.99);
    expect(meanDistance(distances, mass[0]![0]!)).toBeLessThan(0.05);
  });

  it('leaves no tensor behind and refuses unknown options', async () => {
    const params = initDiT(new Rng('leak'), dit);
    const [x, inputs] = [image(), at()];
    await expectNoLeak(() => attentionProfile(params, x, inputs, dit, { metric: 'chebyshev' }));
    await expect(attentionProfile(params, x, inputs, dit, { metric: 'manhattan' as never })).rejects.toThrow(
      "attentionProfile: metric: wanted 'euclidean' or 'chebyshev', got 'manhattan'",
    );
    await expect(attentionProfile(params, tf.zeros([2, 8, 11, 3]), inputs, dit, { metric: 'euclidean' })).rejects.toThrow(
      'attentionProfile: x: tokens along w: wanted an integer at least 1, got 5.5',
    );
  });
});

describe('seams', () => {
  it('are the ratio of jumps across windows to jumps across patches inside them', () => {
    // Columns rise by 1 within patches, jump by 2 between patches and by 6 between windows of two patches of two columns.
    const row = [0, 1, 3, 4, 10, 11, 13, 14];
    const images = tf.tile(tf.reshape(tf.tensor1d(row), [1, 1, 8, 1]), [2, 4, 1, 3]);
    expectClose(seamRatio(images, { window: 4, patch: 2 }), [9], { rel: 1e-6 });
  });

  it('are about 1 in noise', () => {
    expectClose(seamRatio(new Rng('noise').normal([64, 16, 16, 3]), { window: 4, patch: 2 }), [1], { abs: 0.05 });
  });

  it('are refused where there are none to measure', async () => {
    const images = tf.zeros([1, 8, 8, 1]);
    expect(() => seamRatio(images, { window: 8, patch: 2 })).toThrow(
      'seamRatio: images: wanted a width of two or more windows of 8 pixels, got 8',
    );
    expect(() => seamRatio(images, { window: 3, patch: 2 })).toThrow('seamRatio: window: wanted an integer at least 4, got 3');
    expect(() => seamRatio(images, { window: 5, patch: 2 })).toThrow('seamRatio: window: wanted a multiple of the patch side 2, got 5');
    await expectNoLeak(() => seamRatio(images, { window: 4, patch: 2 }));
  });
});
