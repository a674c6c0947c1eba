import { checkNumber, dims, tf, type Tensor } from '@atelier/tensor';
import type { ParameterTable } from '../parameters/init.ts';
import { linear } from './linear.ts';

/** Weight [O, I, K, L] and bias [O] of a convolution, in PyTorch's layout. */
export type ConvolutionParams = { weight: Tensor; bias: Tensor };

/** Zeros around an image: the same on all sides, or rows above and below and columns left and right. */
export type Padding = number | readonly [rows: readonly [number, number], columns: readonly [number, number]];

export type ConvolutionOptions = {
  /** Step between two places of the kernel, in pixels; 1 if not given. */
  stride?: number;
  /** 0 if not given. */
  padding?: Padding;
};

/**
 * Cross-correlation with zeros outside the image, as PyTorch's `Conv2d`: x [B, H, W, I], weight [O, I, K, L] -> [B, H', W', O] with
 * H' = ⌊(H + above + below - K) / stride⌋ + 1 and W' likewise. The bias may be absent.
 *
 * @throws Error if the shapes do not fit, or the kernel is larger than the padded image
 */
export function convolution(p: { weight: Tensor; bias?: Tensor }, x: Tensor, { stride = 1, padding = 0 }: ConvolutionOptions = {}): Tensor {
  const where = 'convolution';
  const { O, I, K, L } = dims<'O' | 'I' | 'K' | 'L'>(p.weight, 'O I K L', `${where}: weight`);
  const { H, W } = dims<'H' | 'W'>(x, 'B H W I', `${where}: x`, { I });
  if (p.bias !== undefined) dims(p.bias, 'O', `${where}: bias`, { O });
  checkNumber(`${where}: stride`, stride, { integer: true, min: 1 });
  const pads =
    typeof padding === 'number'
      ? ([
          [padding, padding],
          [padding, padding],
        ] as const)
      : padding;
  for (const pad of pads.flat()) checkNumber(`${where}: padding`, pad, { integer: true, min: 0 });
  const [[above, below], [left, right]] = pads;
  if (H + above + below < K || W + left + right < L)
    throw new Error(`${where}: x: wanted at least ${K} x ${L} pixels with the padding, got ${H + above + below} x ${W + left + right}`);
  // A kernel of one pixel is a linear layer, which is one product of matrices.
  if (K === 1 && L === 1 && stride === 1 && pads.flat().every((pad) => pad === 0))
    return linear({ ...p, weight: tf.reshape(p.weight, [O, I]) }, x);
  const filter = tf.transpose(p.weight, [2, 3, 1, 0]) as Parameters<typeof tf.conv2d>[1]; // [O, I, K, L] -> [K, L, I, O]
  // Written out for each side: TensorFlow.js takes the kernel's height for its width where one number stands for all four.
  const sides = [[0, 0], [above, below], [left, right], [0, 0]] as [number, number][]; // prettier-ignore
  const y = tf.conv2d(x as Parameters<typeof tf.conv2d>[0], filter, stride, sides as never, 'NHWC', 1, 'floor');
  return p.bias === undefined ? y : tf.add(y, p.bias);
}

/** Entries of a parameter table for a convolution called `name`, with PyTorch's start: uniform in ±1/√(I·K²), weight and bias. */
export function convolutionParameters(name: string, inputs: number, outputs: number, kernel: number): ParameterTable {
  return {
    [`${name}.weight`]: { shape: [outputs, inputs, kernel, kernel], init: 'torch' },
    [`${name}.bias`]: { shape: [outputs], init: { uniform: 1 / Math.sqrt(inputs * kernel * kernel) } },
  };
}
