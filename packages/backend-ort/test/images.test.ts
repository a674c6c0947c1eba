import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tf } from '../src/tf.ts';
import { expectAgreement, expectValueAndGradients, sample, useOrt, whole, type Argument, type Tensor } from './agree.ts';

describe('cropping and resizing', () => {
  it('agrees on boxes inside and outside the image', () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(...[0, 1, 2, 3].map(() => fc.integer({ min: -3, max: 11 }).map((n) => n / 8))), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom<'bilinear' | 'nearest'>('bilinear', 'nearest'),
        async (boxes, crop, method) => {
          const places: Argument = { data: boxes.flat(), shape: [boxes.length, 4] };
          const owners = whole(
            [boxes.length],
            boxes.map((_, i) => i % 3),
          );
          await expectAgreement(
            (x, b, i) => tf.image.cropAndResize(x as never, b as never, i as never, [crop, 3], method, 0.5),
            [sample([2, 6, 5, 3], 1), places, owners],
          );
        },
      ),
      { numRuns: 20 },
    ));

  it('refuses a negative image number', async () => {
    await useOrt();
    const run = (): Tensor => tf.image.cropAndResize(tf.zeros([1, 2, 2, 1]), tf.zeros([1, 4]), tf.tensor1d([-1], 'int32'), [1, 1]);
    expect(run).toThrow('ort CropAndResize: the index value -1 is not in [0,');
  });
});

describe('projective maps', () => {
  const maps = {
    shift: [1, 0, 1.5, 0, 1, -1.25, 0, 0],
    turn: [0.8, -0.6, 2, 0.6, 0.8, -1, 0, 0],
    tilt: [1.1, 0.2, -4, -0.3, 0.9, 3, 0.01, -0.02],
    far: [3, 0, -20, 0, 3, 17, 0, 0],
  };
  for (const [name, map] of Object.entries(maps)) {
    it(`agree under every way to fill: ${name}`, async () => {
      const transforms: Argument = { data: map, shape: [1, 8] };
      for (const interpolation of ['nearest', 'bilinear'] as const) {
        for (const mode of ['constant', 'reflect', 'wrap', 'nearest'] as const) {
          const f = (x: Tensor, t: Tensor): Tensor => tf.image.transform(x as never, t as never, interpolation, mode, 0.25, [4, 6]);
          await expectAgreement(f, [sample([1, 5, 4, 2], 2), transforms], 1e-4);
        }
      }
    });
  }

  // TensorFlow.js's `cpu` engine stops after the first image.
  it('reach every image of a batch', async () => {
    await useOrt();
    const x = sample([2, 4, 4, 1], 3);
    const [image, t] = [tf.tensor4d(x.data, [2, 4, 4, 1]), tf.tensor2d([maps.turn, maps.shift])];
    const both = tf.image.transform(image, t, 'bilinear').dataSync();
    const apart = [0, 1].map((i) =>
      tf.image.transform(tf.slice(image, [i, 0, 0, 0], [1, 4, 4, 1]), tf.slice(t, [i, 0], [1, 8]), 'bilinear'),
    );
    expect(Array.from(both)).toEqual(apart.flatMap((part) => Array.from(part.dataSync())));
  });
});

describe('rotation and flips', () => {
  it('agree, with one fill value and with one a channel', async () => {
    const x = sample([2, 5, 7, 3], 4);
    for (const angle of [0, 0.3, Math.PI / 2, 4]) {
      await expectAgreement((a) => tf.image.rotateWithOffset(a as never, angle, 0.5, [0.4, 0.6]), [x]);
      await expectAgreement((a) => tf.image.rotateWithOffset(a as never, angle, [0.1, 0.2, 0.3], 0.5), [x]);
    }
    await expectAgreement((a) => tf.image.flipLeftRight(a as never), [x]);
  });
});

describe('dilation', () => {
  it('agrees in value and both gradients', () =>
    fc.assert(
      fc.asyncProperty(
        fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 2 }),
        fc.constantFrom<'same' | 'valid'>('same', 'valid'),
        async ([height, width], stride, dilation, pad) => {
          const f = (x: Tensor, w: Tensor): Tensor => tf.dilation2d(x as never, w as never, stride, pad, dilation);
          await expectValueAndGradients(f, [sample([2, 6, 7, 2], 5), sample([height, width, 2], 6)]);
        },
      ),
      { numRuns: 15 },
    ));
});
