import { dims, tf, type Tensor } from '@atelier/tensor';
import { attention } from './attention.ts';
import { convolution, convolutionParameters, type ConvolutionParams } from '../layers/convolution.ts';
import { groupNorm, type GroupNormOptions } from '../layers/group-norm.ts';
import type { ParameterTable } from '../parameters/init.ts';

/** Group norm, and 1 × 1 convolutions to q, k, v [3C, C, 1, 1] and back [C, C, 1, 1]. */
export type SpatialAttentionParams = { norm: { weight: Tensor; bias: Tensor }; qkv: ConvolutionParams; proj_out: ConvolutionParams };

/** How the 3C rows of `qkv` are read: all of q, all of k, all of v, or q, k and v of one channel after the other (EDM's U-Net). */
export type QkvLayout = 'thirds' | 'interleaved';

/**
 * Single-head self-attention between the pixels of an image, added to it: x + proj(softmax(qkᵀ/√C)·v) with q, k, v from the normalized image,
 * [B, H, W, C] -> [B, H, W, C] (the attention block of latent diffusion's autoencoders and of many U-Nets).
 */
export function spatialAttention(
  p: SpatialAttentionParams,
  x: Tensor,
  { layout = 'thirds', ...norm }: GroupNormOptions & { layout?: QkvLayout },
): Tensor {
  const { B, H, W, C } = dims<'B' | 'H' | 'W' | 'C'>(x, 'B H W C', 'spatialAttention: x');
  dims(p.qkv.weight, 'rows C 1 1', 'spatialAttention: qkv.weight', { rows: 3 * C, C });
  const normal = groupNorm(p.norm, x, norm);
  const weights = thirds(p.qkv.weight, layout);
  const biases = thirds(p.qkv.bias, layout);
  const [q, k, v] = weights.map((weight, i) => tf.reshape(convolution({ weight, bias: biases[i]! }, normal), [B, 1, H * W, C]));
  const mixed = tf.reshape(attention(q!, k!, v!), [B, H, W, C]); // [B, 1, H·W, C] -> [B, H, W, C]
  return tf.add(x, convolution(p.proj_out, mixed));
}

/** The rows of q, of k and of v: [3C, …] -> 3 × [C, …]. Rows of weights are sorted, of which there are fewer than activations. */
function thirds(rows: Tensor, layout: QkvLayout): Tensor[] {
  if (layout === 'thirds') return tf.split(rows, 3, 0);
  const [C, rest] = [rows.shape[0]! / 3, rows.shape.slice(1)];
  return tf.unstack(tf.reshape(rows, [C, 3, ...rest]), 1); // -> 3 × [C, …]
}

/** Entries of a parameter table for the attention called `name`. */
export function spatialAttentionParameters(name: string, channels: number): ParameterTable {
  return {
    [`${name}.norm.weight`]: { shape: [channels], init: 'ones' },
    [`${name}.norm.bias`]: { shape: [channels], init: 'zeros' },
    ...convolutionParameters(`${name}.qkv`, channels, 3 * channels, 1),
    ...convolutionParameters(`${name}.proj_out`, channels, channels, 1),
  };
}
