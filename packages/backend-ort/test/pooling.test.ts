import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tf } from '../src/tf.ts';
import { expectAgreement, expectHomogeneous, expectValueAndGradients, sample, useOrt, whole, type Tensor } from './agree.ts';

type D2 = [number, number];
type D3 = [number, number, number];
type Pad = 'same' | 'valid' | number;
const small = fc.integer({ min: 1, max: 3 });
const padding = fc.constantFrom<Pad>('same', 'valid');
const poolings = { max: tf.maxPool, avg: tf.avgPool } as const;
const poolings3D = { max: tf.maxPool3d, avg: tf.avgPool3d } as const;

for (const kind of ['max', 'avg'] as const) {
  describe(`${kind} pooling`, () => {
    it('over two axes agrees in value and gradient', () =>
      fc.assert(
        fc.asyncProperty(fc.tuple(small, small), fc.tuple(small, small), padding, async (size: D2, strides: D2, pad) => {
          await expectValueAndGradients((x) => poolings[kind](x as never, size, strides, pad as never), [sample([2, 6, 5, 3], 1)]);
        }),
        { numRuns: 15 },
      ));

    it('over three axes agrees in value, and in the gradient of cubic windows', () =>
      fc.assert(
        fc.asyncProperty(fc.tuple(small, small, small), small, padding, async (size: D3, stride, pad) => {
          const f = (edges: D3) => (x: Tensor) => poolings3D[kind](x as never, edges, stride, pad as never);
          await expectAgreement(f(size), [sample([2, 4, 5, 3, 2], 2)]);
          // TensorFlow.js's `cpu` engine takes the height of a window for its width in the gradient of the maximum.
          // (And divides by whole windows in the gradient of the mean, so that at padded borders it is not the mean's.)
          if (kind === 'max' || pad === 'valid') await expectHomogeneous(f(size), sample([2, 4, 5, 3, 2], 3));
          await expectValueAndGradients(f([size[0], size[0], size[0]]), [sample([1, 4, 5, 3, 2], 4)]);
        }),
        { numRuns: 12 },
      ));

    it('pads by a number, as wide as a window and wider, and rounds up', async () => {
      for (const pad of [1, 2, 3]) {
        await expectAgreement((x) => poolings[kind](x as never, 2, 1, pad), [sample([1, 4, 4, 2], 5)]);
        await expectAgreement((x) => poolings3D[kind](x as never, 2, 1, pad), [sample([1, 3, 3, 3, 2], 6)]);
        await expectAgreement(
          (x) => tf.grad((y: Tensor) => tf.sum(poolings[kind](y as never, 3, 2, pad, 'floor')))(x),
          [sample([1, 5, 5, 2], 7)],
        );
      }
      await expectAgreement((x) => poolings[kind](x as never, 3, 2, 0, 'ceil'), [sample([2, 6, 6, 2], 8)]);
    });

    it('keeps NaN and the infinities as cpu does', async () => {
      const values = [NaN, NaN, 1, -Infinity, NaN, NaN, 2, Infinity, -Infinity, -Infinity, NaN, 3, -Infinity, -Infinity, 4, NaN];
      await expectAgreement((x) => poolings[kind](x as never, 2, 2, 'valid'), [{ data: values, shape: [1, 4, 4, 1] }]);
      await expectAgreement((x) => poolings[kind](x as never, 3, 1, 'same'), [{ data: values, shape: [1, 4, 4, 1] }]);
    });

    if (kind === 'max')
      it('takes whole numbers', () =>
        expectAgreement((x) => poolings[kind](x as never, 2, 1, 'valid'), [whole([1, 2, 3, 1], [7, -9, 2, 16777217, 5, 6])]));
  });
}

describe('the gradient of the maximum', () => {
  it('goes to the winner that cpu picks among equals', async () => {
    const flat = { data: new Array<number>(27).fill(1), shape: [1, 3, 3, 3] };
    await expectAgreement((x) => tf.grad((y: Tensor) => tf.sum(tf.maxPool(y as never, 2, 1, 'same')))(x), [flat]);
    const cube = { data: new Array<number>(54).fill(1), shape: [1, 3, 3, 3, 2] };
    await expectAgreement((x) => tf.grad((y: Tensor) => tf.sum(tf.maxPool3d(y as never, 2, 1, 'same')))(x), [cube]);
  });

  it('gives the same bits at every run', async () => {
    await useOrt();
    const { data, shape } = sample([4, 16, 16, 8], 9, (x) => Math.round(4 * x) / 4);
    const run = (): Float32Array =>
      tf.tidy(() => {
        const x = tf.add(tf.tensor(data, shape), 0);
        return tf
          .grad((y: Tensor) => tf.sum(tf.sin(tf.maxPool(y as never, 3, 1, 'same'))))(x)
          .dataSync() as Float32Array;
      });
    const first = run();
    for (let i = 0; i < 3; i++) expect(run()).toEqual(first);
  });
});

describe('maxPoolWithArgmax', () => {
  it('finds the places that cpu finds', () =>
    fc.assert(
      fc.asyncProperty(fc.tuple(small, small), small, padding, fc.boolean(), async (size: D2, stride, pad, batch) => {
        await expectAgreement(
          (x) => Object.values(tf.maxPoolWithArgmax(x as never, size, stride, pad as never, batch)),
          [sample([2, 5, 4, 3], 1)],
        );
      }),
      { numRuns: 12 },
    ));

  it('finds nothing among NaN', () =>
    expectAgreement(
      (x) => Object.values(tf.maxPoolWithArgmax(x as never, 2, 2, 'valid')),
      [{ data: [NaN, NaN, NaN, NaN], shape: [1, 2, 2, 1] }],
    ));
});
