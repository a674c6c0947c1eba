import { checkNumber, parseConfig, stopGradient, tf, type Tensor } from '@atelier/tensor';
import { quantize, quantizerConfig, type QuantizerParams, type QuantizerSettings } from './quantizer.ts';

export type QuantizerLoss = {
  /** The last reconstruction [B, H, H, c]. Its gradient goes straight through to f, as if nothing had been quantized, and not to codebook or Φ. */
  reconstruction: Tensor;
  /** (1/K) Σ_l [mean (f̂_l - sg(f))² + β·mean (sg(f̂_l) - f)²], where sg stops the gradient and the means are over all entries. */
  loss: Tensor;
  /** Token maps [B, p_l²] int32. */
  indices: Tensor[];
};

/**
 * The loss of the quantizer on latents f [B, H, H, c] (`VectorQuantizer2.forward` in FoundationVision/VAR). The first term trains codebook and Φ towards the
 * latents; the second, the commitment, keeps the latents of the encoder near what the codes can express. The choice of the nearest code has no gradient.
 *
 * @param beta weight of the commitment, 0.25 in VAR
 */
export function quantizerLoss(p: QuantizerParams, f: Tensor, settings: QuantizerSettings, beta = 0.25): QuantizerLoss {
  const config = parseConfig(quantizerConfig, settings, 'quantizerLoss');
  checkNumber('quantizerLoss: beta', beta, { min: 0 });
  const { indices, reconstructions } = quantize(p, f, config);
  const fixed = stopGradient(f);
  const terms = reconstructions.map((estimate) => {
    const codes = tf.mean(tf.square(tf.sub(estimate, fixed)));
    return tf.add(codes, tf.mul(tf.mean(tf.square(tf.sub(stopGradient(estimate), f))), beta));
  });
  const loss = tf.div(
    terms.reduce((a, b) => tf.add(a, b)),
    terms.length,
  );
  const last = reconstructions.at(-1)!;
  return { reconstruction: tf.add(tf.sub(stopGradient(last), fixed), f), loss, indices };
}
