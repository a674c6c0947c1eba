import { checkNumber, customGradient, dims, type Tensor, tf } from '@atelier/tensor';
import type { Grid } from './window.ts';

/** A depthwise convolution in PyTorch's layout: weight [C, 1, K, K], bias [C]. */
export type BridgeParams = { weight: Tensor; bias: Tensor };

/**
 * The operation of a bridging head on its values: a depthwise K × K cross-correlation over the whole grid, across the borders of windows, with stride 1,
 * zeros outside the grid, no norm and no activation. Tokens x [B, h·w, C] -> [B, h·w, C].
 */
export function bridge(p: BridgeParams, x: Tensor, { h, w }: Grid): Tensor {
  const { B, C } = dims<'B' | 'C'>(x, 'B T C', 'bridge: x', { T: h * w });
  const { K } = dims<'K'>(p.weight, 'C one K K', 'bridge: weight', { C, one: 1 });
  checkKernel('bridge: weight', K);
  dims(p.bias, 'C', 'bridge: bias', { C });
  const filter = tf.transpose(p.weight, [2, 3, 0, 1]); // [C, 1, K, K] -> [K, K, C, 1]
  return tf.add(tf.reshape(depthwise(tf.reshape(x, [B, h, w, C]), filter), [B, h * w, C]), p.bias);
}

/** Throws unless the kernel has a centre (odd sides). */
function checkKernel(where: string, K: number): void {
  checkNumber(where, K, { integer: true, min: 1 });
  if (K % 2 === 0) throw new Error(`${where}: wanted an odd side of the kernel, got ${K}`);
}

/**
 * The convolution with its derivatives: x [B, H, W, C], filter [K, K, C, 1].
 *
 * Several forms were measured on ONNX Runtime (128 channels, K = 5, forward and both gradients; four times 32 × 32 tokens, and once 64 × 64). The fastest
 * is the engine's grouped convolution, with the gradient of x as a convolution with the reversed kernel: 11 and 11 ms. The transposed convolution that
 * TensorFlow.js uses takes 18 and 19 ms, K² shifted products 38 and 37, products with banded matrices 14 to 25 and 25 to 35. The form with the reversed
 * kernel can also be differentiated again in forward mode.
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

/** The kernel that TensorFlow.js runs for this derivative. It has no public function. */
function filterGradient(x: Tensor, dy: Tensor, { shape }: Tensor): Tensor {
  const options = { strides: [1, 1], dilations: [1, 1], pad: 'same', filterShape: shape };
  return tf.engine().runKernel('DepthwiseConv2dNativeBackpropFilter', { x, dy }, options) as Tensor;
}

/** The identity kernel [C, 1, K, K]: 1 at the centre, 0 elsewhere. */
export function centreDelta(shape: readonly number[]): Tensor {
  const [C, , K] = shape as [number, number, number];
  const delta = new Float32Array(C * K * K);
  for (let c = 0; c < C; c++) delta[c * K * K + (K * K - 1) / 2] = 1;
  return tf.tensor4d(delta, [C, 1, K, K]);
}
