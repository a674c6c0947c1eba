import { jvp, Rng, tf } from '@atelier/tensor';
import { expectClose, expectGradients } from '@atelier/testkit';
import { everyEngine } from '@atelier/testkit/vitest';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  attention,
  blockCausalSlices,
  mergeAttention,
  sliceArea,
  sliceAttention,
  sliceAttentionPart,
  sliceBlocks,
  sliceMask,
  type AttentionSlice,
  type SliceKind,
} from '../src/index.ts';

const kinds: SliceKind[] = ['full', 'causal', 'inverse-causal', 'bi-causal'];

/** Slices of rectangles that do not overlap: a row of rectangles for each band of queries. */
const disjoint = fc
  .array(
    fc.record({
      rows: fc.integer({ min: 1, max: 5 }),
      widths: fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.constantFrom(...kinds)), { maxLength: 3 }),
    }),
    { minLength: 1, maxLength: 4 },
  )
  .map((bands) => {
    let row = 0;
    const slices: AttentionSlice[] = [];
    for (const { rows, widths } of bands) {
      let column = 0;
      for (const [width, kind] of widths) {
        // A gap of one column between rectangles, sometimes.
        slices.push({ queries: [row, row + rows], keys: [column, column + width], kind });
        column += width + (width % 2);
      }
      row += rows;
    }
    return { slices, T: row, S: 20 };
  });

describe('a mask of slices', () => {
  it('holds exactly the pairs of the definition', () => {
    fc.assert(
      fc.property(disjoint, ({ slices, T, S }) => {
        const mask = sliceMask(slices, T, S);
        let area = 0;
        for (let q = 0; q < T; q++)
          for (let s = 0; s < S; s++) {
            const seen = slices.some(({ queries: [a, b], keys: [c, d], kind }) => {
              if (q < a || q >= b || s < c || s >= d) return false;
              const causal = s - c - (q - a) <= d - c - (b - a);
              const inverse = s - c >= q - a;
              return { full: true, causal, 'inverse-causal': inverse, 'bi-causal': causal && inverse }[kind];
            });
            expect(mask[q * S + s]).toBe(seen ? 1 : 0);
            area += seen ? 1 : 0;
          }
        expect(sliceArea(slices)).toBe(area);
      }),
    );
  });

  it('computes nothing outside of full slices', () => {
    const slices = blockCausalSlices([3, 4, 5], [1, 2, 2], 2);
    const pairs = sliceBlocks(slices, 14).reduce(
      (sum, { queries, keys }) => sum + (queries[1] - queries[0]) * keys.reduce((n, [a, b]) => n + b - a, 0),
      0,
    );
    expect(pairs).toBe(sliceArea(slices));
    expect(pairs).toBe(3 * 3 + 4 * 7 + 5 * 9);
  });
});

describe('attention on slices', () => {
  everyEngine(() => {
    it('equals attention with the dense mask, with grouped heads, and so do its gradients', () => {
      fc.assert(
        fc.property(disjoint, fc.integer(), ({ slices, T, S }, seed) => {
          tf.tidy(() => {
            const rng = new Rng(String(seed));
            const [q, k, v] = [
              rng.child('q').normal([2, 4, T, 3]),
              rng.child('k').normal([2, 2, S, 3]),
              rng.child('v').normal([2, 2, S, 5]),
            ];
            const mask = tf.tensor2d(sliceMask(slices, T, S), [T, S], 'bool');
            const dense = (...[a, b, c]: tf.Tensor[]): tf.Tensor => {
              const repeat = (x: tf.Tensor): tf.Tensor => tf.reshape(tf.stack([x, x], 2), [2, 4, S, x.shape[3]!]);
              return attention(a!, repeat(b!), repeat(c!), { mask });
            };
            const dy = rng.child('dy').normal([2, 4, T, 5]);
            const [ours, theirs] = [(...[a, b, c]: tf.Tensor[]) => sliceAttention(a!, b!, c!, slices), dense].map((f) =>
              tf.valueAndGrads(f)([q, k, v], dy),
            );
            expectClose(ours!.value, theirs!.value, { abs: 2e-6 });
            ours!.grads.forEach((grad, i) => expectClose(grad, theirs!.grads[i]!, { abs: 1e-5 }));
          });
        }),
        { numRuns: 15 },
      );
    });

    it('of blocks that are equally large, which are computed together, equals the dense mask too, also in forward mode', () => {
      tf.tidy(() => {
        const rng = new Rng('equal blocks');
        const [q, k, v] = ['q', 'k', 'v'].map((name) => rng.child(name).normal([2, 4, 15, 3])) as [tf.Tensor, tf.Tensor, tf.Tensor];
        const slices = blockCausalSlices([3, 3, 3, 3, 3], [2, 2, 2, 2, 2]);
        const mask = tf.tensor2d(sliceMask(slices, 15, 15), [15, 15], 'bool');
        const tangents = ['dq', 'dk', 'dv'].map((name) => rng.child(name).normal([2, 4, 15, 3]));
        const [ours, theirs] = [
          (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) => sliceAttention(a, b, c, slices),
          (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) => attention(a, b, c, { mask }),
        ].map((f) => jvp((...xs) => f(xs[0]!, xs[1]!, xs[2]!), [q, k, v], tangents));
        expectClose(ours!.value, theirs!.value, { abs: 2e-6 });
        expectClose(ours!.tangent, theirs!.tangent, { abs: 1e-5 });
      });
    });

    it('may be computed slice by slice and merged', () => {
      fc.assert(
        fc.property(disjoint, ({ slices, T, S }) => {
          fc.pre(slices.length > 0);
          tf.tidy(() => {
            const rng = new Rng('merge');
            const [q, k, v] = [
              rng.child('q').normal([1, 2, T, 3]),
              rng.child('k').normal([1, 1, S, 3]),
              rng.child('v').normal([1, 1, S, 3]),
            ];
            const whole = sliceAttentionPart(q, k, v, slices);
            const merged = mergeAttention(slices.map((slice) => sliceAttentionPart(q, k, v, [slice])));
            expectClose(merged.out, whole.out, { abs: 2e-6 });
            expectClose(merged.lse, whole.lse, { abs: 2e-6 });
          });
        }),
        { numRuns: 10 },
      );
    });

    it('has the gradients of central differences', () => {
      tf.tidy(() => {
        const rng = new Rng('gradients');
        const slices: AttentionSlice[] = [
          { queries: [0, 3], keys: [0, 2], kind: 'causal' },
          { queries: [0, 2], keys: [2, 4], kind: 'full' },
        ];
        const inputs = [rng.normal([1, 2, 4, 2]), rng.normal([1, 1, 4, 2]), rng.normal([1, 1, 4, 2])];
        expectGradients((a, b, c) => sliceAttention(a!, b!, c!, slices), inputs, { cotangent: rng.normals(16), max: 1e-3 });
      });
    });

    it('without a slice is zero, with the log-sum-exp of nothing', () => {
      tf.tidy(() => {
        const x = tf.ones([1, 1, 2, 2]) as tf.Tensor;
        const { out, lse } = sliceAttentionPart(x, x, x, []);
        expectClose(out, [0, 0, 0, 0]);
        expectClose(lse, [-Infinity, -Infinity]);
      });
    });
  });
});

describe('bad slices are named', () => {
  const x = (): tf.Tensor => tf.zeros([1, 2, 4, 2]);
  const slice = (queries: [number, number], keys: [number, number], kind: SliceKind = 'full'): AttentionSlice => ({ queries, keys, kind });
  it.each([
    [
      'beyond the queries',
      () => sliceMask([slice([0, 5], [0, 1])], 4, 4),
      'sliceMask: slice 0: queries: wanted 0 <= begin < end <= 4, got [0,5]',
    ],
    ['empty', () => sliceMask([slice([1, 1], [0, 1])], 4, 4), 'slice 0: queries'],
    ['of fractions', () => sliceMask([slice([0, 1], [0, 1.5])], 4, 4), 'slice 0: keys'],
    ['of an unknown kind', () => sliceMask([slice([0, 1], [0, 1], 'diagonal' as SliceKind)], 4, 4), "got 'diagonal'"],
    ['that overlap', () => sliceMask([slice([0, 2], [0, 2]), slice([1, 3], [1, 3])], 4, 4), 'got slices 0 and 1 that overlap'],
    [
      'heads that do not divide',
      () => sliceAttention(x(), tf.zeros([1, 3, 4, 2]), tf.zeros([1, 3, 4, 2]), []),
      'divides the 2 of q, got 3',
    ],
    ['a block without tokens', () => blockCausalSlices([2, 0]), 'size of block 1'],
    ['a range of 0', () => blockCausalSlices([2], [0]), 'range of block 0'],
    ['too few ranges', () => blockCausalSlices([2, 2], [1]), 'one for each of 2 blocks, got 1'],
    ['no parts', () => mergeAttention([]), 'wanted at least one part, got none'],
  ])('%s', (_, call, message) => {
    expect(() => call()).toThrow(message);
  });
});
