import {
  convolution,
  convolutionParameters,
  initParameters,
  loadParameters,
  parameterCount,
  type ConvolutionParams,
  type ParameterTable,
  type StateDict,
} from '@atelier/nn';
import { parseConfig, dims, tf, type Rng, type Tensor } from '@atelier/tensor';
import { z } from 'zod';
import {
  autoencoderConfig,
  decode,
  decoderParameters,
  encode,
  encoderParameters,
  type DecoderParams,
  type EncoderParams,
} from './autoencoder.ts';
import { quantizerLoss } from './quantizer-objective.ts';
import { checkLatents, quantize, quantizerConfig, quantizerParameters, type Quantized, type QuantizerParams } from './quantizer.ts';

/** Settings of a tokenizer of images: a convolutional autoencoder around the multi-scale quantizer. */
export const tokenizerConfig = z
  .strictObject({ autoencoder: autoencoderConfig, quantizer: quantizerConfig })
  .refine((c) => c.autoencoder.latentChannels === c.quantizer.channels, {
    path: ['quantizer', 'channels'],
    error: (issue) => {
      const { autoencoder, quantizer } = issue.input as { autoencoder: { latentChannels: number }; quantizer: { channels: number } };
      return `wanted the ${autoencoder.latentChannels} channels of the latents, got ${quantizer.channels}`;
    },
  });

export type TokenizerConfig = z.output<typeof tokenizerConfig>;
export type TokenizerSettings = z.input<typeof tokenizerConfig>;

/** Parameters under VAR's names (`vae_ch160v4096z32.pth`). */
export type TokenizerParams = {
  encoder: EncoderParams;
  decoder: DecoderParams;
  quant_conv: ConvolutionParams;
  post_quant_conv: ConvolutionParams;
  quantize: QuantizerParams;
};

/** Shape and initialization of every parameter, by name. */
export function tokenizerParameters(settings: TokenizerSettings): ParameterTable {
  const { autoencoder, quantizer } = parseConfig(tokenizerConfig, settings, 'tokenizerParameters');
  const { channels: c } = quantizer;
  return {
    ...encoderParameters(autoencoder, 'encoder.'),
    ...decoderParameters(autoencoder, 'decoder.'),
    ...convolutionParameters('quant_conv', c, c, 3),
    ...convolutionParameters('post_quant_conv', c, c, 3),
    ...quantizerParameters(quantizer, 'quantize.'),
  };
}

/** Number of parameters, without allocating any. */
export const tokenizerParameterCount = (settings: TokenizerSettings): number => parameterCount(tokenizerParameters(settings));

/** New parameters. The caller owns them. */
export function initTokenizer(rng: Rng, settings: TokenizerSettings): TokenizerParams {
  return initParameters(rng, tokenizerParameters(settings)) as TokenizerParams;
}

/**
 * Parameters from VAR's state dict. The counters of used codes (`ema_vocab_hit_SV`) are left out. The caller owns the parameters.
 *
 * @throws Error naming every tensor that does not fit
 */
export function tokenizerFromStateDict(tensors: StateDict, settings: TokenizerSettings): TokenizerParams {
  const ignore = /^quantize\.ema_vocab_hit_SV$/;
  return loadParameters(tokenizerParameters(settings), tensors, { ignore }, 'tokenizerFromStateDict') as TokenizerParams;
}

/** Latents of images [B, H, W, C] in [-1, 1], before they are quantized: [B, h, h, c]. @throws Error unless their side is that of the ladder's last scale */
export function encodeLatents(p: TokenizerParams, images: Tensor, settings: TokenizerSettings): Tensor {
  const { autoencoder, quantizer } = parseConfig(tokenizerConfig, settings, 'encodeLatents');
  const f = convolution(p.quant_conv, encode(p.encoder, images, autoencoder), { padding: 1 });
  checkLatents(f, quantizer, 'encodeLatents: latents');
  return f;
}

/** Tokens of images [B, H, W, C] in [-1, 1]: the token maps [B, p_l²], and the reconstructions [B, h, h, c] of their latents. */
export function tokenize(p: TokenizerParams, images: Tensor, settings: TokenizerSettings): Quantized {
  return quantize(p.quantize, encodeLatents(p, images, settings), settings.quantizer);
}

/** Decodes latents [B, h, w, c], as the quantizer reconstructs them, into images [B, H, W, C]. Values are near [-1, 1] and not clipped. */
export function decodeLatents(p: TokenizerParams, latents: Tensor, settings: TokenizerSettings): Tensor {
  const { autoencoder } = parseConfig(tokenizerConfig, settings, 'decodeLatents');
  dims(latents, 'B h w c', 'decodeLatents: latents', { c: autoencoder.latentChannels });
  return decode(p.decoder, convolution(p.post_quant_conv, latents, { padding: 1 }), autoencoder);
}

export type TokenizerLoss = {
  /** `pixels` + `codesWeight` · `codes`. */
  loss: Tensor;
  /** Mean squared error of the decoded images. */
  pixels: Tensor;
  /** The quantizer's own loss. */
  codes: Tensor;
  /** Token maps [B, p_l²] int32. */
  indices: Tensor[];
};

/**
 * The loss of a tokenizer that is trained end to end on images [B, H, W, C] in [-1, 1]: the mean squared error of the decoded image, plus the quantizer's
 * loss. The gradient of the first goes straight through the quantizer to the encoder. The released tokenizer was trained with a perceptual and an
 * adversarial loss too; that code is not published.
 */
export function tokenizerLoss(
  p: TokenizerParams,
  images: Tensor,
  settings: TokenizerSettings,
  { codesWeight = 1, beta = 0.25 }: { codesWeight?: number; beta?: number } = {},
): TokenizerLoss {
  const f = encodeLatents(p, images, settings);
  const { reconstruction, loss: codes, indices } = quantizerLoss(p.quantize, f, settings.quantizer, beta);
  const pixels = tf.mean(tf.square(tf.sub(decodeLatents(p, reconstruction, settings), images)));
  return { loss: tf.add(pixels, tf.mul(codes, codesWeight)), pixels, codes, indices };
}
