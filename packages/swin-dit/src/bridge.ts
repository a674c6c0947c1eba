import { checkNumber, customGradient, dims, type Tensor, tf } from '@atelier/tensor';
import type { Grid } from './window.ts';

/** A depthwise convolution in PyTorch's layout: weight [C, 1, K, K], bias [C]. */
export type BridgeParams = { weight: Tensor; bias: Tensor };

/**
 * What a bridging head does to its values: a depthwise K × K cross-correlation over the whole grid, across the borders of windows; stride 1, zeros
 * outside the grid, no norm and no activation. Tokens x [B, h·w, C] -> [B, h·w, C].
 */
export function bridge(p: BridgeParams, x: Tensor, { h, w }: Grid): Tensor {
  const { B, C } = dims<'B' | 'C'>(x, 'B T C', 'bridge: x', { T: h * w });
  const { K } = dims<'K'>(p.weight, 'C one K K', 'bridge: weight', { C, one: 1 });
  checkKernel('bridge: weight', K);
  dims(p.bias, 'C', 'bridge: bias', { C });
  const filter = tf.transpose(p.weight, [2, 3, 0, 1]); // [C, 1, K, K] -> [K, K, C, 1]
  return tf.add(tf.reshape(depthwise(tf.reshape(x, [B, h, w, C]), filter), [B, h * w, C]), p.bias);
}

/** A kernel has a centre. */
function checkKernel(where: string, K: number): void {
  checkNumber(where, K, { integer: true, min: 1 });
  if (K % 2 === 0) throw new Error(`${where}: wanted an odd side of the kernel, got ${K}`);
}

/**
 * The convolution with its derivatives: x [B, H, W, C], filter [K, K, C, 1].
 *
 * Of what was measured on ONNX Runtime (128 channels, K = 5, forward and both gradients, 32 × 32 tokens four times and 64 × 64 once) the
 * engine's grouped convolution is the fastest, if the gradient of x is one too, with the kernel turned round: 11 and 11 ms; with the transposed convolution
 * that TensorFlow.js asks for 18 and 19, as K² shifted products 38 and 37, as products with banded matrices 14 to 25 and 25 to 35. Turned
 * round, it is also a gradient that forward mode can differentiate again.
 */
function depthwise(x: Tensor, filter: Tensor): Tensor {
  const correlate = (image: Tensor, weights: Tensor): Tensor =>
    tf.depthwiseConv2d(image as Parameters<typeof tf.depthwiseConv2d>[0], weights as Parameters<typeof tf.depthwiseConv2d>[1], 1, 'same');
  return customGradient([x, filter], (image, weights) => ({
    value: correlate(image, weights),
    kept: [image, weights],
    pullback: (dy, kept, kernel) => [correlate(dy, tf.reverse(kernel, [0, 1])), filterGradient(kept, dy, kernel)],
  }));
}

/** The kernel that TensorFlow.js runs for this derivative and has no public name for. */
function filterGradient(x: Tensor, dy: Tensor, { shape }: Tensor): Tensor {
  const options = { strides: [1, 1], dilations: [1, 1], pad: 'same', filterShape: shape };
  return tf.engine().runKernel('DepthwiseConv2dNativeBackpropFilter', { x, dy }, options) as Tensor;
}

/** The kernel that gives back what it is given, [C, 1, K, K]: 1 at the centre, 0 elsewhere. */
export function centreDelta(shape: readonly number[]): Tensor {
  const [C, , K] = shape as [number, number, number];
  const delta = new Float32Array(C * K * K);
  for (let c = 0; c < C; c++) delta[c * K * K + (K * K - 1) / 2] = 1;
  return tf.tensor4d(delta, [C, 1, K, K]);
}
