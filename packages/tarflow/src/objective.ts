import { dims, tf, type Tensor } from '@atelier/tensor';
import type { TarFlowSettings } from './config.ts';
import { tarflowForward, type TarFlowParams } from './model.ts';

/**
 * ½·mean(z²) - log|det ∂z/∂x| / (T·D) of each image [B]: the negative log-likelihood in nats per dimension, without ½log 2π. It is mostly
 * negative.
 */
export function negativeLogLikelihood(z: Tensor, logDet: Tensor): Tensor {
  dims(z, 'B T D', 'negativeLogLikelihood: z');
  dims(logDet, 'B', 'negativeLogLikelihood: logDet', { B: z.shape[0]! });
  return tf.sub(tf.mul(tf.mean(tf.square(z), [1, 2]), 0.5), logDet);
}

/** The training loss, the mean of `negativeLogLikelihood` over the batch, and the noise z [B, T, D] that the prior's variance follows. */
export function tarflowLoss(params: TarFlowParams, x: Tensor, settings: TarFlowSettings, y?: Tensor): { loss: Tensor; z: Tensor } {
  const { z, logDet } = tarflowForward(params, x, settings, y);
  return { loss: tf.mean(negativeLogLikelihood(z, logDet)), z };
}

/** Uniform dequantization: pixels n [B, H, W, C] in 0 … 255 and u in [0, 1) of the same shape -> x = 2(n + u)/256 - 1 in [-1, 1). */
export function dequantize(pixels: Tensor, uniform: Tensor): Tensor {
  if (pixels.shape.join() !== uniform.shape.join())
    throw new Error(`dequantize: uniform: wanted the shape of the pixels [${pixels.shape.join(', ')}], got [${uniform.shape.join(', ')}]`);
  return tf.sub(tf.div(tf.add(tf.cast(pixels, 'float32'), uniform), 128), 1);
}

/**
 * Bits per dimension of 8-bit images x [B, H, W, C], dequantized as by `dequantize`, without labels: (½mean(z²) + ½log 2π + log 128 - ℓ) / log 2
 * of each image [B] (apple/ml-tarflow evaluate_bpd.py). `priorLogProb` [B] is the part of the prior in nats, summed over all dimensions, as it is logged
 * there: log N(z; 0, I) - T·D·log 128.
 */
export function bitsPerDimension(params: TarFlowParams, x: Tensor, settings: TarFlowSettings): { bits: Tensor; priorLogProb: Tensor } {
  const { z, logDet } = tarflowForward(params, x, settings);
  const [, T, D] = z.shape as [number, number, number];
  const prior = tf.add(negativeLogLikelihood(z, tf.zerosLike(logDet)), 0.5 * Math.log(2 * Math.PI) + Math.log(128));
  return { bits: tf.div(tf.sub(prior, logDet), Math.LN2), priorLogProb: tf.mul(prior, -T * D) };
}
