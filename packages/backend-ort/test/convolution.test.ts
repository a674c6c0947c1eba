import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tf } from '../src/tf.ts';
import { expectAgreement, expectValueAndGradients, sample, useOrt, type Tensor } from './agree.ts';

type D2 = [number, number];
type D3 = [number, number, number];
const small = fc.integer({ min: 1, max: 3 });
const padding = fc.constantFrom<'same' | 'valid'>('same', 'valid');

describe('depthwise convolution', () => {
  it('agrees in value and both gradients over sizes, strides and padding', () =>
    fc.assert(
      fc.asyncProperty(small, small, small, small, small, padding, async (channels, multiplier, height, width, stride, pad) => {
        const f = (x: Tensor, w: Tensor): Tensor => tf.depthwiseConv2d(x as never, w as never, stride, pad);
        await expectValueAndGradients(f, [sample([2, 6, 5, channels], 1), sample([height, width, channels, multiplier], 2)]);
      }),
      { numRuns: 12 },
    ));

  it('dilates, rounds and pads by a number', async () => {
    const [x, w] = [sample([2, 9, 8, 3], 3), sample([3, 2, 3, 2], 4)];
    await expectAgreement((a, b) => tf.depthwiseConv2d(a as never, b as never, 1, 'same', 'NHWC', [2, 3]), [x, w]);
    await expectAgreement((a, b) => tf.depthwiseConv2d(a as never, b as never, 2, 1, 'NHWC', 1, 'floor'), [x, w]);
    const square = sample([3, 3, 3, 2], 4);
    await expectValueAndGradients((a, b) => tf.depthwiseConv2d(a as never, b as never, 2, 1, 'NHWC', 1, 'ceil'), [x, square]);
  });

  it('fuses bias and activation', async () => {
    const args = [sample([1, 5, 5, 2], 5), sample([3, 3, 2, 2], 6), sample([4], 7)];
    for (const activation of ['relu', 'relu6', 'elu', 'linear'] as const) {
      const f = (x: Tensor, filter: Tensor, bias: Tensor): Tensor =>
        tf.fused.depthwiseConv2d({ x, filter, bias, strides: 1, pad: 'same', activation } as never);
      await expectAgreement(f, args);
    }
  });

  it('is the plain convolution of each channel', async () => {
    await useOrt();
    const [x, w] = [sample([2, 6, 6, 3], 8), sample([3, 3, 3, 1], 9)].map(({ data, shape }) => tf.tensor(data, shape)) as [Tensor, Tensor];
    const whole = (tf.depthwiseConv2d(x as never, w as never, 1, 'same') as Tensor).dataSync();
    const parts = [0, 1, 2].map((c) =>
      tf.conv2d(tf.slice(x, [0, 0, 0, c], [2, 6, 6, 1]) as never, tf.slice(w, [0, 0, c, 0], [3, 3, 1, 1]) as never, 1, 'same'),
    );
    const joined = (tf.concat(parts, 3) as Tensor).dataSync();
    whole.forEach((value, i) => expect(value).toBeCloseTo(joined[i]!, 5));
  });
});

describe('convolution over three axes', () => {
  it('agrees in value and both gradients over sizes, strides and padding', () =>
    fc.assert(
      fc.asyncProperty(fc.tuple(small, small, small), fc.tuple(small, small, small), padding, async (size: D3, strides: D3, pad) => {
        const f = (x: Tensor, w: Tensor): Tensor => tf.conv3d(x as never, w as never, strides, pad);
        await expectValueAndGradients(f, [sample([2, 4, 5, 3, 2], 1), sample([...size, 2, 3], 2)]);
      }),
      { numRuns: 12 },
    ));

  it('dilates and is transposed', async () => {
    await expectAgreement(
      (x, w) => tf.conv3d(x as never, w as never, 1, 'same', 'NDHWC', [2, 1, 2]),
      [sample([1, 5, 4, 6, 2], 3), sample([2, 2, 3, 2, 2], 4)],
    );
    for (const strides of [1, 2]) {
      await expectAgreement(
        (x, w) => tf.conv3dTranspose(x as never, w as never, [2, 3 * strides, 4 * strides, 2 * strides, 3], strides, 'same'),
        [sample([2, 3, 4, 2, 2], 5), sample([3, 2, 3, 3, 2], 6)],
      );
    }
  });
});

describe('transposed convolution', () => {
  it('agrees in value and both gradients', () =>
    fc.assert(
      fc.asyncProperty(fc.tuple(small, small), small, padding, async (size: D2, stride, pad) => {
        const out = (n: number, k: number): number => (pad === 'same' ? n * stride : (n - 1) * stride + k);
        const shape: [number, number, number, number] = [2, out(4, size[0]), out(3, size[1]), 2];
        const f = (x: Tensor, w: Tensor): Tensor => tf.conv2dTranspose(x as never, w as never, shape, stride, pad);
        await expectValueAndGradients(f, [sample([2, 4, 3, 3], 1), sample([...size, 2, 3], 2)]);
      }),
      { numRuns: 10 },
    ));
});
