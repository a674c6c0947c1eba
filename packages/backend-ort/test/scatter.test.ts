import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tf } from '../src/tf.ts';
import { expectAgreement, sample, useOrt, whole, type Tensor } from './agree.ts';

const places = fc.array(fc.tuple(fc.nat(3), fc.nat(4)), { minLength: 1, maxLength: 8 });

describe('scattering', () => {
  it('adds up equal places, in updates of any depth', () =>
    fc.assert(
      fc.asyncProperty(places, async (at) => {
        const indices = whole([at.length, 2], at.flat());
        await expectAgreement((i, u) => tf.scatterND(i as never, u, [4, 5]), [indices, sample([at.length], 1)]);
        await expectAgreement((i, u) => tf.scatterND(i as never, u, [4, 5, 3]), [indices, sample([at.length, 3], 2)]);
      }),
      { numRuns: 10 },
    ));

  it('lets the last of equal places win when it replaces', () =>
    fc.assert(
      fc.asyncProperty(places, async (at) => {
        const indices = whole([at.length, 2], at.flat());
        await expectAgreement(
          (x, i, u) => tf.tensorScatterUpdate(x, i as never, u),
          [sample([4, 5, 2], 3), indices, sample([at.length, 2], 4)],
        );
        const run = (i: Tensor, u: Tensor): Tensor => tf.sparseToDense(i as never, u as never, [4, 5], tf.scalar(-1));
        await expectAgreement(run, [indices, sample([at.length], 5)]);
      }),
      { numRuns: 10 },
    ));

  it('replaces by one value, and booleans', async () => {
    await expectAgreement((i) => tf.sparseToDense(i as never, tf.scalar(3) as never, [5], tf.scalar(0)), [whole([3], [0, 2, 4])]);
    await expectAgreement(
      (i, u) => tf.tensorScatterUpdate(tf.zeros([4], 'bool'), i as never, u),
      [whole([2, 1], [1, 3]), { data: [1, 1], shape: [2], dtype: 'bool' }],
    );
  });
});

describe('counting', () => {
  const values = fc.array(fc.nat(6), { minLength: 1, maxLength: 12 });
  it('agrees with and without weights, with values past the end', () =>
    fc.assert(
      fc.asyncProperty(values, fc.boolean(), async (data, weighted) => {
        const weights = weighted ? sample([data.length], 1) : { data: [], shape: [0] };
        await expectAgreement((x, w) => tf.bincount(x as never, w as never, 5), [whole([data.length], data), weights]);
        const rows = whole([2, data.length], [...data, ...data.map((n) => 6 - n)]);
        const weights2 = weighted ? sample([2, data.length], 2) : { data: [], shape: [0, 0] };
        for (const binary of [false, true])
          await expectAgreement((x, w) => tf.denseBincount(x as never, w as never, 5, binary), [rows, weights2]);
      }),
      { numRuns: 10 },
    ));

  it('refuses negative values, at hand or computed', async () => {
    await useOrt();
    const none = tf.tensor1d([]);
    expect(() => tf.bincount(tf.tensor1d([1, -1], 'int32'), none, 3)).toThrow('ort Bincount: the index value -1 is not in');
    const below = tf.sub(tf.tensor2d([0, 1, 1, 2], [2, 2], 'int32'), tf.scalar(1, 'int32')) as ReturnType<typeof tf.tensor2d>;
    const computed = tf.denseBincount(below, tf.tensor2d([], [0, 0]), 3);
    expect(() => computed.dataSync()).toThrow(/out of data bounds/);
    computed.dispose();
  });
});

describe('indices out of range', () => {
  const matrix = (): Tensor => tf.tensor2d([[1, 2, 3], [4, 5, 6]]); // prettier-ignore
  const computed = (data: number[], shape: number[]): Tensor => tf.sub(tf.tensor(data, shape, 'int32'), tf.scalar(10, 'int32'));

  it('are named at once where their values are at hand', async () => {
    await useOrt();
    expect(() => tf.gather(matrix(), tf.tensor1d([0, 2], 'int32'))).toThrow('ort GatherV2: the index value 2 is not in [0, 1]');
    expect(() => tf.gather(matrix(), tf.tensor1d([-1], 'int32'), 1)).toThrow('ort GatherV2: the index value -1 is not in [0, 2]');
    expect(() => tf.gatherND(matrix(), tf.tensor2d([[0, 3]], [1, 2], 'int32'))).toThrow('ort GatherNd: the index value 3 is not in [0, 2]');
  });

  it('stop the evaluation where they are computed, also the negative ones that ONNX would count from the end', async () => {
    await useOrt();
    const bad: [string, () => Tensor][] = [
      ['gather past the end', () => tf.gather(matrix(), computed([12], [1]))],
      ['gather below 0', () => tf.gather(matrix(), computed([9], [1]))],
      ['batched gather past its own row', () => tf.gather(matrix(), computed([13, 10], [2, 1]), 1, 1)],
      ['batched gather below 0', () => tf.gather(matrix(), computed([10, 9], [2, 1]), 1, 1)],
      ['gatherND below 0', () => tf.gatherND(matrix(), computed([10, 9], [1, 2]))],
      ['scatterND below 0', () => tf.scatterND(computed([9], [1, 1]), tf.tensor1d([1]), [4])],
      ['scatterND past the end', () => tf.scatterND(computed([14], [1, 1]), tf.tensor1d([1]), [4])],
    ];
    for (const [name, run] of bad) {
      const x = tf.tidy(run);
      expect(() => x.dataSync(), name).toThrow(/out of data bounds|invalid index|out of bounds/i);
      x.dispose();
    }
    expect(Array.from(tf.gather(matrix(), computed([11, 10], [2])).dataSync())).toEqual([4, 5, 6, 1, 2, 3]);
  });
});
