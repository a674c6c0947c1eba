import { type ConvolutionParams, type Init, type ParameterTable } from '@atelier/nn';
import { parseConfig, dims, stopGradient, tf, type Tensor } from '@atelier/tensor';
import { z } from 'zod';
import { ladderFault, scalesOf, tokenCount, type Scale } from './ladder.ts';
import { phi, phiCount, phiIndices } from './phi.ts';
import { areaResample, bicubicResample } from './resample.ts';

const size = z.int().min(1);

/** p_0 < … < p_{K-1}, sides of the token maps. */
export const ladderConfig = z.array(z.number()).superRefine((ladder, context) => {
  const fault = ladderFault(ladder);
  if (fault !== null) context.addIssue({ code: 'custom', message: fault });
});

/** Settings of the multi-scale residual quantizer; the defaults are those of VAR's released tokenizer. */
export const quantizerConfig = z.strictObject({
  /** p_0 … p_{K-1}, sides of the token maps; the last is H, the side of the latents. */
  ladder: ladderConfig,
  /** V, vectors of the codebook. */
  codes: size,
  /** c, channels of a latent and of a code. */
  channels: size,
  /** Share of the convolution in Φ: ρ = |ratio|. 0 makes Φ the identity, without convolutions. */
  ratio: z.number().min(-1).max(1).default(0.5),
  /** J, number of convolutions of Φ that the scales share; 0 gives each scale its own. */
  shared: z.int().min(0).default(4),
  /** Whether the nearest code is the one with the smallest angle, instead of the smallest distance (`using_znorm`). */
  cosine: z.boolean().default(false),
});

export type QuantizerConfig = z.output<typeof quantizerConfig>;
export type QuantizerSettings = z.input<typeof quantizerConfig>;

/** Codebook [V, c], and the convolutions of Φ, which are absent if the ratio is 0. */
export type QuantizerParams = { embedding: { weight: Tensor } } & ({ quant_resi: { qresi_ls: ConvolutionParams[] } } | object);

/** Shape and initialization of the quantizer's parameters, with VAR's names after `prefix`. The codebook starts uniform in ±1/V. */
export function quantizerParameters(settings: QuantizerSettings, prefix = ''): ParameterTable {
  const { ladder, codes, channels: c, ratio, shared } = parseConfig(quantizerConfig, settings, 'quantizerParameters');
  const table: ParameterTable = { [`${prefix}embedding.weight`]: { shape: [codes, c], init: { uniform: 1 / codes } } };
  const bias: Init = { uniform: 1 / Math.sqrt(9 * c) };
  if (ratio !== 0)
    for (let j = 0; j < phiCount(ladder.length, shared); j++) {
      table[`${prefix}quant_resi.qresi_ls.${j}.weight`] = { shape: [c, c, 3, 3], init: 'torch' };
      table[`${prefix}quant_resi.qresi_ls.${j}.bias`] = { shape: [c], init: bias };
    }
  return table;
}

/** Token maps r_l [B, p_l²] int32, smallest first, and for each the reconstruction f̂_l [B, H, H, c] from the maps 0 … l. */
export type Quantized = { indices: Tensor[]; reconstructions: Tensor[] };

/**
 * Multi-scale residual quantization of latents f [B, H, H, c]. Each scale averages the residual to its side, takes the nearest codes, and subtracts their
 * contribution Δ_l = Φ(bicubic(codes)) from the residual (`VectorQuantizer2.f_to_idxBl_or_fhat` in FoundationVision/VAR). Of equally near codes, the first
 * is taken. The reconstructions have a gradient for codebook and Φ, but not for f, because the choice of a code has none.
 */
export function quantize(p: QuantizerParams, f: Tensor, settings: QuantizerSettings): Quantized {
  const config = parseConfig(quantizerConfig, settings, 'quantize');
  const scales = checkQuantizer(p, config, 'quantize');
  checkLatents(f, config, 'quantize: f');
  let rest = stopGradient(f);
  let sum: Tensor | null = null;
  const out: Quantized = { indices: [], reconstructions: [] };
  for (const scale of scales) {
    const index = stopGradient(nearestCodes(p.embedding.weight, areaResample(rest, scale.side), config.cosine));
    const delta = contribution(p, lookUp(p, index, scale), scale, config);
    rest = tf.sub(rest, stopGradient(delta));
    sum = sum === null ? delta : tf.add(sum, delta);
    out.indices.push(index);
    out.reconstructions.push(sum);
  }
  return out;
}

/** Index of the code that is nearest to each vector of z [B, p, p, c] in the codebook [V, c] -> [B, p²] int32. */
export function nearestCodes(codebook: Tensor, z: Tensor, cosine: boolean): Tensor {
  const { B, p, c } = dims<'B' | 'p' | 'c'>(z, 'B p p c', 'nearestCodes: z');
  dims(codebook, 'V c', 'nearestCodes: codebook', { c });
  const flat = tf.reshape(z, [B * p * p, c]);
  // ‖z - e‖² = ‖z‖² - (2z·e - ‖e‖²). The first term is the same for all codes e, so the nearest code has the largest bracket. Nor does the angle
  // between z and e depend on ‖z‖.
  const nearness = cosine
    ? tf.matMul(flat, unitRows(codebook), false, true)
    : tf.sub(tf.mul(tf.matMul(flat, codebook, false, true), 2), tf.sum(tf.square(codebook), 1));
  return tf.reshape(tf.argMax(nearness, 1), [B, p * p]);
}

const unitRows = (x: Tensor): Tensor => tf.div(x, tf.maximum(tf.sqrt(tf.sum(tf.square(x), 1, true)), 1e-12));

/** The code vectors of a token map: r [B, p²] int32 -> [B, p, p, c]. */
export function lookUp(p: QuantizerParams, index: Tensor, { side, tokens }: Scale): Tensor {
  const { B } = dims<'B'>(index, 'B n', 'lookUp: index', { n: tokens });
  return tf.reshape(tf.gather(p.embedding.weight, tf.reshape(index, [B * tokens])), [B, side, side, -1]);
}

/** Δ_l, what a map of code vectors [B, p, p, c] adds to the reconstruction: Φ(bicubic(codes)) [B, H, H, c]. Φ is applied at the last scale too. */
export function contribution(p: QuantizerParams, codes: Tensor, { index: l }: Scale, { ladder, ratio, shared }: QuantizerConfig): Tensor {
  const convolutions = 'quant_resi' in p ? p.quant_resi.qresi_ls : [];
  return phi(convolutions[phiIndices(ladder.length, shared)[l]!], bicubicResample(codes, ladder.at(-1)!), ratio);
}

/**
 * The reconstructions f̂_l [B, H, H, c] from token maps r_l [B, p_l²] int32, equal to those of `quantize`. The last one is the input of the decoder. The range
 * of the tokens is not checked here; the engine fails on an index of V or more.
 */
export function reconstruct(p: QuantizerParams, indices: readonly Tensor[], settings: QuantizerSettings): Tensor[] {
  const config = parseConfig(quantizerConfig, settings, 'reconstruct');
  const scales = checkQuantizer(p, config, 'reconstruct');
  if (indices.length !== scales.length) throw new Error(`reconstruct: indices: wanted ${scales.length} token maps, got ${indices.length}`);
  let sum: Tensor | null = null;
  return scales.map((scale, l) => {
    const delta = contribution(p, lookUp(p, indices[l]!, scale), scale, config);
    return (sum = sum === null ? delta : tf.add(sum, delta));
  });
}

/**
 * The inputs x_l from which a transformer predicts the true token maps in training (teacher forcing): f̂_{l-1} averaged to the side p_l, for l = 1 … K-1, all
 * scales in one sequence [B, N - 1, c]. Map 0 has one token and is predicted from the class only, so it has no input. The last reconstruction is not used.
 */
export function teacherInputs(reconstructions: readonly Tensor[], ladder: readonly number[]): Tensor {
  const scales = scalesOf(ladder, 'teacherInputs');
  if (reconstructions.length < scales.length - 1)
    throw new Error(`teacherInputs: wanted ${scales.length - 1} reconstructions, got ${reconstructions.length}`);
  return tf.concat(
    scales.slice(1).map((scale, l) => nextInput(reconstructions[l]!, scale)),
    1,
  );
}

/** x_l, the input of one scale, from the reconstruction of the scale before it: f̂_{l-1} [B, H, H, c] -> [B, p_l², c]. */
export function nextInput(reconstruction: Tensor, { side, tokens }: Scale): Tensor {
  const { B, c } = dims<'B' | 'c'>(reconstruction, 'B H H c', 'nextInput: reconstruction');
  return tf.reshape(areaResample(reconstruction, side), [B, tokens, c]);
}

/** Splits the token maps of all scales in one sequence [B, N] into a list of maps [B, p_l²]. */
export function splitMaps(tokens: Tensor, ladder: readonly number[]): Tensor[] {
  dims(tokens, 'B N', 'splitMaps: tokens', { N: tokenCount(ladder) });
  const sizes = scalesOf(ladder, 'splitMaps').map(({ tokens: n }) => n);
  return tf.split(tokens, sizes, 1);
}

/** @throws Error unless the latents [B, H, H, c] have the side of the last scale and the channels of the codes */
export function checkLatents(f: Tensor, { ladder, channels }: QuantizerConfig, where: string): { B: number } {
  const side = ladder.at(-1)!;
  return dims<'B'>(f, 'B H W c', where, { H: side, W: side, c: channels });
}

/** The scales of the ladder. @throws Error unless the parameters fit the settings */
export function checkQuantizer(p: QuantizerParams, config: QuantizerConfig, where: string): Scale[] {
  dims(p.embedding.weight, 'V c', `${where}: embedding.weight`, { V: config.codes, c: config.channels });
  const wanted = config.ratio === 0 ? 0 : phiCount(config.ladder.length, config.shared);
  const found = 'quant_resi' in p ? p.quant_resi.qresi_ls.length : 0;
  if (found !== wanted) throw new Error(`${where}: quant_resi: wanted ${wanted} convolutions, got ${found}`);
  return scalesOf(config.ladder, where);
}
