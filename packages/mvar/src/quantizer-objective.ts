import { checkNumber, parseConfig } from '@atelier/nn';
import { stopGradient, tf, type Tensor } from '@atelier/tensor';
import { quantize, quantizerConfig, type QuantizerParams, type QuantizerSettings } from './quantizer.ts';

export type QuantizerLoss = {
  /** The last reconstruction [B, H, H, c], whose gradient goes to f as if nothing had been quantized, and to neither codes nor Φ. */
  reconstruction: Tensor;
  /** (1/K) Σ_l mean (f̂_l - sg(f))² + β mean (sg(f̂_l) - f)². */
  loss: Tensor;
  indices: Tensor[];
};

/**
 * Trains codebook and Φ (first term) and holds the encoder to what they can say (second, the commitment), at every scale
 * (VectorQuantizer2.forward): f [B, H, H, c]. The residuals that decide which code is nearest carry no gradient.
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
