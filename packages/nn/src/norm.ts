import { dims, runFused, tf, type Tensor } from '@atelier/tensor';
import { checkNumber } from './check.ts';
import { closedForm, sumLast } from './derivative.ts';

export type NormOptions = {
  /** Added to the variance (or mean square): 1e-6 in DiT, 1e-5 in Swin. */
  eps: number;
  /** Per-channel factor [D]. */
  weight?: Tensor;
  /** Per-channel offset [D]. */
  bias?: Tensor;
};

/** Layer norm over the last axis with the biased variance: (x - mean) / √(var + eps), then ·weight + bias where given. */
export function layerNorm(x: Tensor, options: NormOptions): Tensor {
  return affine(normalize(x, options, true, 'layerNorm'), options, 'layerNorm');
}

/** Root-mean-square norm over the last axis: x / √(mean(x²) + eps), then ·weight + bias where given. */
export function rmsNorm(x: Tensor, options: NormOptions): Tensor {
  return affine(normalize(x, options, false, 'rmsNorm'), options, 'rmsNorm');
}

/** Adaptive modulation x·(1 + scale) + shift; scale and shift broadcast against x, as [B, 1, D] against [B, T, D]. */
export function modulate(x: Tensor, shift: Tensor, scale: Tensor): Tensor {
  return tf.add(tf.mul(x, tf.add(scale, 1)), shift);
}

function normalize(x: Tensor, { eps }: NormOptions, centered: boolean, where: string): Tensor {
  checkNumber(`${where}: eps`, eps, { min: 0 });
  if (x.rank === 0) throw new Error(`${where}: wanted a tensor with a last axis to normalize, got a scalar`);
  const standardize = (input: Tensor): { normal: Tensor; inverse: Tensor } => {
    const fused = centered ? runFused('Standardize', { x: input }, { eps }) : null;
    if (fused !== null) return { normal: fused[0]!, inverse: fused[1]! };
    const centre = centered ? tf.sub(input, tf.mean(input, -1, true)) : input;
    const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centre), -1, true), eps));
    return { normal: tf.mul(centre, inverse), inverse };
  };
  const share = 1 / x.shape.at(-1)!;
  // J = (I - 11ᵀ/n - x̂x̂ᵀ/n)/s; without centring the middle term is absent.
  const pullback = (dy: Tensor, input: Tensor): Tensor => {
    const { normal, inverse } = standardize(input);
    const along = tf.mul(normal, tf.mul(sumLast(tf.mul(normal, dy)), share));
    const rest = centered ? tf.sub(dy, tf.mul(sumLast(dy), share)) : dy;
    return tf.mul(inverse, tf.sub(rest, along));
  };
  return closedForm(x, (input) => standardize(input).normal, pullback);
}

function affine(x: Tensor, { weight, bias }: NormOptions, where: string): Tensor {
  const width = { D: x.shape.at(-1)! };
  if (weight !== undefined) dims(weight, 'D', `${where}: weight`, width);
  if (bias !== undefined) dims(bias, 'D', `${where}: bias`, width);
  const scaled = weight === undefined ? x : tf.mul(x, weight);
  return bias === undefined ? scaled : tf.add(scaled, bias);
}
