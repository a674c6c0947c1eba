import { checkNumber, dims, tf, type Tensor } from '@atelier/tensor';
import { convolution, type ConvolutionParams } from './convolution.ts';

/** Every pixel `factor` times in both directions: [B, H, W, C] -> [B, factor·H, factor·W, C]. */
export function upsampleNearest(x: Tensor, factor = 2): Tensor {
  const { B, H, W, C } = dims<'B' | 'H' | 'W' | 'C'>(x, 'B H W C', 'upsampleNearest: x');
  checkNumber('upsampleNearest: factor', factor, { integer: true, min: 1 });
  const columns = tf.broadcastTo(tf.reshape(x, [B * H * W, 1, C]), [B * H * W, factor, C]); // -> [B·H·W, f, C]
  const rows = tf.broadcastTo(tf.reshape(columns, [B * H, 1, W * factor * C]), [B * H, factor, W * factor * C]); // -> [B·H, f, W·f·C]
  return tf.reshape(rows, [B, H * factor, W * factor, C]);
}

/** Mean of each `factor` × `factor` block: [B, H, W, C] -> [B, H/factor, W/factor, C]. @throws Error unless the factor divides both sides */
export function downsampleMean(x: Tensor, factor = 2): Tensor {
  const { B, H, W, C } = dims<'B' | 'H' | 'W' | 'C'>(x, 'B H W C', 'downsampleMean: x');
  checkNumber('downsampleMean: factor', factor, { integer: true, min: 1 });
  for (const [side, size] of Object.entries({ H, W }))
    if (size % factor !== 0) throw new Error(`downsampleMean: x: wanted ${side} a multiple of ${factor}, got ${size}`);
  const columns = tf.mean(tf.reshape(x, [(B * H * W) / factor, factor, C]), 1); // -> [B·H·W/f, C]
  const rows = tf.mean(tf.reshape(columns, [(B * H) / factor, factor, (W / factor) * C]), 1); // -> [B·H/f, W/f·C]
  return tf.reshape(rows, [B, H / factor, W / factor, C]);
}

/** Nearest-neighbour upsampling by 2, then a 3 × 3 convolution: [B, H, W, I] -> [B, 2H, 2W, O]. */
export function upsampleConvolution(p: { conv: ConvolutionParams }, x: Tensor): Tensor {
  return convolution(p.conv, upsampleNearest(x, 2), { padding: 1 });
}

/**
 * A 3 × 3 convolution of stride 2 with zeros below and to the right alone, as in the autoencoders of latent diffusion: [B, H, W, I] -> [B, ⌊H/2⌋, ⌊W/2⌋, O].
 */
export function downsampleConvolution(p: { conv: ConvolutionParams }, x: Tensor): Tensor {
  return convolution(p.conv, x, { stride: 2, padding: [[0, 1], [0, 1]] }); // prettier-ignore
}
