import { attention } from '@atelier/nn';
import { Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { neighborhoodAttention, neighborhoodIndex, tileOf, tiledPairs, type Neighborhood } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

const draw = (seed: string, { H, W }: Neighborhood, d = 5): [Tensor, Tensor, Tensor] =>
  ['q', 'k', 'v'].map((name) => new Rng(seed).child(name).normal([2, 3, H * W, d])) as [Tensor, Tensor, Tensor];

/** Attention under a dense mask. */
function masked(q: Tensor, k: Tensor, v: Tensor, area: Neighborhood, scale: number): Tensor {
  const T = area.H * area.W;
  const seen = new Uint8Array(T * T);
  const index = neighborhoodIndex(area);
  index.forEach((key, i) => (seen[Math.floor(i / area.kernel ** 2) * T + key] = 1));
  return attention(q, k, v, { scale, mask: tf.tensor2d(seen, [T, T], 'bool') });
}

describe('window attention', () => {
  it('agrees with a dense mask, values and gradients, for any grid, window and tile (invariant 17)', () => {
    // At least two keys in a window: with one the derivatives by q and k are exactly 0, and only their rounding would be compared.
    const sides = fc.integer({ min: 2, max: 9 });
    const tileSides = fc.record({ rows: fc.integer({ min: 1, max: 10 }), columns: fc.integer({ min: 1, max: 10 }) });
    fc.assert(
      fc.property(sides, sides, sides, tileSides, fc.integer(), (H, W, k, tile, seed) => {
        tf.tidy(() => {
          const area = { H, W, kernel: Math.min(H, W, k) };
          const xs = draw(String(seed), area);
          const cotangent = new Rng(seed).child('cotangent').normal(xs[0].shape);
          const [own, dense] = [
            (q: Tensor, key: Tensor, v: Tensor) => neighborhoodAttention(q, key, v, area, { scale: 0.7, tile }),
            (q: Tensor, key: Tensor, v: Tensor) => masked(q, key, v, area, 0.7),
          ].map((f) => tf.valueAndGrads(f as (...of: Tensor[]) => Tensor)(xs, cotangent));
          expectClose(own!.value, dense!.value, { max: 1e-5 });
          own!.grads.forEach((grad, i) => expectClose(grad, dense!.grads[i]!, { max: 1e-5, abs: 1e-6 }, `gradient ${i}`));
        });
      }),
      { numRuns: 25 },
    );
  });

  it('over the whole grid is dense attention; of one token it gives its value (invariant 5)', () => {
    const area = { H: 6, W: 6, kernel: 6 };
    const [q, k, v] = draw('whole', area);
    expectClose(neighborhoodAttention(q, k, v, area, { scale: 1 }), attention(q, k, v, { scale: 1 }), { abs: 2e-6 });
    expectClose(neighborhoodAttention(q, k, v, { ...area, kernel: 1 }, { scale: 1 }), v, { abs: 2e-6 });
  });

  it('sees k² keys everywhere, moved inwards at borders; equal values come out as they went in (invariant 6)', () => {
    for (const area of [
      { H: 7, W: 9, kernel: 5 },
      { H: 6, W: 6, kernel: 4 },
      { H: 4, W: 8, kernel: 3 },
    ]) {
      const index = neighborhoodIndex(area);
      const k2 = area.kernel ** 2;
      for (let t = 0; t < area.H * area.W; t++) expect(new Set(index.subarray(t * k2, (t + 1) * k2)).size).toBe(k2);
      const corner = Array.from({ length: k2 }, (_, i) => Math.floor(i / area.kernel) * area.W + (i % area.kernel));
      expect(Array.from(index.subarray(0, k2))).toEqual(corner);
      const [q, k] = draw('constant', area);
      const constant = tf.fill(q.shape, 2.5);
      expectClose(neighborhoodAttention(q, k, constant, area, { scale: 1 }), constant, { abs: 1e-6 });
    }
  });

  it('turned round with its input, for an odd window (invariant 6)', () => {
    const area = { H: 7, W: 7, kernel: 3 };
    const xs = draw('flip', area);
    const flip = (x: Tensor): Tensor => tf.reverse(x, 2);
    const turned = neighborhoodAttention(...(xs.map(flip) as [Tensor, Tensor, Tensor]), area, { scale: 1 });
    expectClose(flip(turned), neighborhoodAttention(...xs, area, { scale: 1 }), { abs: 1e-5 });
  });

  it('survives logits of ±100 and huge unseen ones', () => {
    const area = { H: 9, W: 9, kernel: 3 };
    const [q, k, v] = draw('huge', area);
    const loud = tf.mul(k, 60);
    expectClose(neighborhoodAttention(q, loud, v, area, { scale: 1 }), masked(q, loud, v, area, 1), { max: 1e-5 });
  });

  it('works on O(N·k²) pairs, and on no N × N of them', () => {
    for (const [side, kernel] of [
      [13, 7],
      [16, 7],
      [32, 7],
      [64, 7],
      [128, 7],
      [8, 5],
      [6, 5],
      [6, 3],
    ] as const) {
      const area = { H: side, W: side, kernel };
      expect(tiledPairs(area, { rows: 1, columns: 1 })).toBe(side ** 2 * kernel ** 2);
      expect(tiledPairs(area)).toBeLessThan(side ** 4);
      const { rows, columns } = tileOf(area);
      expect(rows * columns).toBeLessThanOrEqual(128);
      expect(tiledPairs(area)).toBeLessThanOrEqual(side ** 2 * (kernel + rows - 1) * (kernel + columns - 1));
    }
  });

  it('says what does not fit', () => {
    const area = { H: 3, W: 4, kernel: 3 };
    const [q, k, v] = draw('bad', area);
    expect(() => neighborhoodAttention(q, k, v, { ...area, kernel: 4 }, { scale: 1 })).toThrow(
      'neighborhoodAttention: kernel: wanted at most the smaller side of 3 x 4 tokens, got 4',
    );
    expect(() => neighborhoodAttention(q, k, v, { ...area, H: 4 }, { scale: 1 })).toThrow('neighborhoodAttention: q: wanted shape');
    expect(() => neighborhoodIndex({ ...area, kernel: 0 })).toThrow('neighborhoodIndex: kernel: wanted an integer at least 1, got 0');
  });
});
