import fc from 'fast-check';
import { describe, it } from 'vitest';
import { tf } from '../src/tf.ts';
import { expectAgreement, expectHomogeneous, sample, type Tensor } from './agree.ts';

type D2 = [number, number];
const size = fc.integer({ min: 1, max: 7 });
const resizers = { bilinear: tf.image.resizeBilinear, nearest: tf.image.resizeNearestNeighbor } as const;

for (const kind of ['bilinear', 'nearest'] as const) {
  describe(`resizing, ${kind}`, () => {
    it('agrees in value under every alignment', () =>
      fc.assert(
        fc.asyncProperty(fc.tuple(size, size), fc.tuple(size, size), async (from: D2, to: D2) => {
          for (const [align, half] of [
            [false, false],
            [true, false],
            [false, true],
          ] as const) {
            await expectAgreement((x) => resizers[kind](x as never, to, align, half), [sample([2, ...from, 3], 1)]);
          }
        }),
        { numRuns: 12 },
      ));

    it('agrees in the gradient of square images', () =>
      fc.assert(
        fc.asyncProperty(size, size, fc.boolean(), async (from, to, align) => {
          // TensorFlow.js's `cpu` engine never ends on one aligned pixel: it takes infinitely many steps of 0.
          if (from === 1 && align) return;
          await expectAgreement(
            (x) => tf.grad((y: Tensor) => tf.sum(tf.square(resizers[kind](y as never, [to, to], align))))(x),
            [sample([1, from, from, 2], 2)],
            5e-5,
          );
        }),
        { numRuns: 12 },
      ));

    // TensorFlow.js's `cpu` engine exchanges the sizes of the gradient of an oblong image, and overlooks half-pixel centers in it.
    it('has the exact gradient of oblong images and half-pixel centers', () =>
      fc.assert(
        fc.asyncProperty(fc.tuple(size, size), fc.tuple(size, size), async (from: D2, to: D2) => {
          for (const [align, half] of [
            [false, false],
            [true, false],
            [false, true],
          ] as const) {
            await expectHomogeneous((x) => resizers[kind](x as never, to, align, half), sample([2, ...from, 3], 3));
          }
        }),
        { numRuns: 12 },
      ));
  });
}
