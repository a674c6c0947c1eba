import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tf } from '../src/tf.ts';
import { expectAgreement, expectValueAndGradients, sample, useOrt, type Tensor } from './agree.ts';

describe('batch normalization', () => {
  it('agrees in value and every gradient, with moments a channel or an element', async () => {
    const x = sample([2, 3, 4, 5], 1);
    for (const shape of [[5], [2, 3, 4, 5]]) {
      const f = (a: Tensor, mean: Tensor, variance: Tensor, offset: Tensor, scale: Tensor): Tensor =>
        tf.batchNorm(a, mean as never, variance as never, offset as never, scale as never, 1e-3);
      const args = [x, sample(shape, 2), sample(shape, 3, (v) => 0.3 + Math.abs(v)), sample(shape, 4), sample(shape, 5)];
      await expectValueAndGradients(f, args);
    }
    await expectAgreement(
      (a, m, v) => tf.batchNorm(a, m as never, v as never),
      [x, sample([5], 2), sample([5], 3, (v) => 1 + Math.abs(v))],
    );
  });
});

describe('local response normalization', () => {
  it('agrees in value and gradient over radii and exponents', () =>
    fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 6 }),
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom(0.5, 0.75, 1),
        async (radius, channels, beta) => {
          const f = (x: Tensor): Tensor => tf.localResponseNormalization(x as never, radius, 1.2, 0.7, beta);
          await expectValueAndGradients(f, [sample([2, 3, 2, channels], 6)]);
        },
      ),
      { numRuns: 15 },
    ));
});

describe('blocks', () => {
  it('go to batches and back, cropped and padded, value and gradient', async () => {
    const x = sample([2, 4, 6, 3], 7);
    const padding = [
      [0, 2],
      [1, 2],
    ];
    await expectValueAndGradients((a) => tf.spaceToBatchND(a, [2, 3], padding), [x]);
    await expectValueAndGradients((a) => tf.spaceToBatchND(a, [2], [[1, 1]]), [x]);
    await expectValueAndGradients(
      (a) =>
        tf.batchToSpaceND(
          a,
          [2, 2],
          padding.map(() => [1, 0]),
        ),
      [sample([8, 2, 3, 3], 8)],
    );
    await expectValueAndGradients((a) => tf.batchToSpaceND(a, [2], [[0, 1]]), [sample([4, 3, 2], 9)]);
    await expectAgreement((a) => tf.depthToSpace(a as never, 2), [sample([2, 2, 3, 8], 10)]);
  });
});

describe('einsum', () => {
  const labels = ['a', 'b', 'c', 'd', 'e'];
  const sizes: Record<string, number> = { a: 2, b: 3, c: 4, d: 1, e: 2 };
  const term = fc.shuffledSubarray(labels, { minLength: 1, maxLength: 4 });
  const shape = (names: string[]): number[] => names.map((name) => sizes[name]!);

  /** The sum by its definition; TensorFlow.js's `cpu` engine forgets an axis that only one of two terms has and the result has not. */
  function definition(terms: string[][], values: number[][], result: string[]): number[] {
    const out = new Array<number>(shape(result).reduce((a, b) => a * b, 1)).fill(0);
    const offset = (names: string[], at: Record<string, number>): number => names.reduce((sum, name) => sum * sizes[name]! + at[name]!, 0);
    const walk = (open: string[], at: Record<string, number>): void => {
      const [name, ...rest] = open;
      if (name === undefined) {
        out[offset(result, at)]! += terms.reduce((product, names, i) => product * values[i]![offset(names, at)]!, 1);
        return;
      }
      for (let i = 0; i < sizes[name]!; i++) walk(rest, { ...at, [name]: i });
    };
    walk([...new Set(terms.flat())], {});
    return out;
  }

  it('sums products over any two terms, in any order of the result', () =>
    fc.assert(
      fc.asyncProperty(
        term,
        term,
        fc.integer({ min: 0, max: 31 }),
        fc.shuffledSubarray(labels, { minLength: 5 }),
        async (a, b, mask, order) => {
          await useOrt();
          const result = order.filter((name) => (a.includes(name) || b.includes(name)) && (mask >> labels.indexOf(name)) % 2 === 1);
          const [x, y] = [sample(shape(a), 1), sample(shape(b), 2)];
          const equation = `${a.join('')},${b.join('')}->${result.join('')}`;
          const got = tf.tidy(() => tf.einsum(equation, tf.tensor(x.data, x.shape), tf.tensor(y.data, y.shape)));
          expect(got.shape, equation).toEqual(shape(result));
          const wanted = definition([a, b], [x.data, y.data], result);
          got.dataSync().forEach((value, i) => expect(value, equation).toBeCloseTo(wanted[i]!, 4));
          got.dispose();
        },
      ),
      { numRuns: 60 },
    ));

  it('agrees on one term', () =>
    fc.assert(
      fc.asyncProperty(term, fc.integer({ min: 0, max: 31 }), async (a, mask) => {
        const result = [...a].sort().filter((name) => (mask >> labels.indexOf(name)) % 2 === 1);
        await expectAgreement((x) => tf.einsum(`${a.join('')} -> ${result.join('')}`, x), [sample(shape(a), 3)]);
      }),
      { numRuns: 15 },
    ));
});
