import {
  convolution,
  convolutionParameters,
  downsampleConvolution,
  groupNorm,
  silu,
  spatialAttention,
  spatialAttentionParameters,
  upsampleConvolution,
  type ConvolutionParams,
  type ParameterTable,
  type SpatialAttentionParams,
} from '@atelier/nn';
import { dims, tf, type Tensor } from '@atelier/tensor';
import { z } from 'zod';

const size = z.int().min(1);

/** Settings of the convolutional encoder and decoder of a tokenizer; the defaults are those of VAR's released one. */
export const autoencoderConfig = z
  .strictObject({
    /** Channels of an image. */
    imageChannels: size.default(3),
    /** c, channels of a latent. */
    latentChannels: size.default(32),
    /** Channels of the first level. */
    width: size.default(160),
    /** Width of each level, as a multiple of `width`. Between two levels the sides of the image are halved. */
    multipliers: z.array(size).min(1).default([1, 1, 2, 2, 4]),
    /** Residual blocks in each level of the encoder; a level of the decoder has one more. */
    blocks: size.default(2),
    /** Groups of the group norms; a divisor of every width. */
    groups: size.default(32),
    /** Whether each block of the last level, which has the smallest images, is followed by self-attention. */
    attention: z.boolean().default(true),
    /** Whether there is self-attention between the two middle blocks. */
    middleAttention: z.boolean().default(true),
  })
  .refine((c) => c.multipliers.every((m) => (m * c.width) % c.groups === 0), {
    path: ['groups'],
    error: (issue) => {
      const { groups, width, multipliers } = issue.input as { groups: number; width: number; multipliers: number[] };
      return `wanted a divisor of all widths ${multipliers.map((m) => m * width).join(', ')}, got ${groups}`;
    },
  });

export type AutoencoderConfig = z.output<typeof autoencoderConfig>;
export type AutoencoderSettings = z.input<typeof autoencoderConfig>;

type NormParams = { weight: Tensor; bias: Tensor };
type ResidualParams = {
  norm1: NormParams;
  conv1: ConvolutionParams;
  norm2: NormParams;
  conv2: ConvolutionParams;
  /** A 1 × 1 convolution on the skip connection, only where the width changes. */
  nin_shortcut?: ConvolutionParams;
};
type MiddleParams = { block_1: ResidualParams; attn_1?: SpatialAttentionParams; block_2: ResidualParams };
type LevelParams = { block: ResidualParams[]; attn?: SpatialAttentionParams[] };
type EndParams = { conv_in: ConvolutionParams; mid: MiddleParams; norm_out: NormParams; conv_out: ConvolutionParams };

/** Parameters under VAR's names. */
export type EncoderParams = EndParams & { down: (LevelParams & { downsample?: { conv: ConvolutionParams } })[] };
export type DecoderParams = EndParams & { up: (LevelParams & { upsample?: { conv: ConvolutionParams } })[] };

/** Shape and initialization of the encoder's parameters, with names after `prefix`. */
export function encoderParameters(config: AutoencoderConfig, prefix: string): ParameterTable {
  const widths = config.multipliers.map((m) => m * config.width);
  let at = config.width;
  const table = convolutionParameters(`${prefix}conv_in`, config.imageChannels, at, 3);
  widths.forEach((width, i) => {
    const last = i === widths.length - 1;
    at = levelParameters(table, `${prefix}down.${i}`, at, width, config.blocks, last && config.attention);
    if (!last) Object.assign(table, convolutionParameters(`${prefix}down.${i}.downsample.conv`, width, width, 3));
  });
  return endParameters(table, prefix, at, at, config.latentChannels, config);
}

/** Shape and initialization of the decoder's parameters, with names after `prefix`. */
export function decoderParameters(config: AutoencoderConfig, prefix: string): ParameterTable {
  const widths = config.multipliers.map((m) => m * config.width);
  const middle = widths.at(-1)!;
  let at = middle;
  const table = convolutionParameters(`${prefix}conv_in`, config.latentChannels, at, 3);
  for (let i = widths.length - 1; i >= 0; i--) {
    const attends = i === widths.length - 1 && config.attention;
    at = levelParameters(table, `${prefix}up.${i}`, at, widths[i]!, config.blocks + 1, attends);
    if (i > 0) Object.assign(table, convolutionParameters(`${prefix}up.${i}.upsample.conv`, at, at, 3));
  }
  return endParameters(table, prefix, middle, at, config.imageChannels, config);
}

/** Images [B, H, W, C] in [-1, 1] -> latents [B, H/s, W/s, c], s = 2^(levels - 1). Where a level has an odd side, half of it is rounded down. */
export function encode(p: EncoderParams, x: Tensor, config: AutoencoderConfig): Tensor {
  dims(x, 'B H W C', 'encode: x', { C: config.imageChannels });
  let h = convolution(p.conv_in, x, { padding: 1 });
  for (const level of p.down) {
    h = applyLevel(level, h, config);
    if (level.downsample) h = downsampleConvolution(level.downsample, h);
  }
  return end(p, middle(p.mid, h, config), config);
}

/** Latents [B, h, w, c] -> images [B, s·h, s·w, C], s = 2^(levels - 1). Values are near [-1, 1] and not clipped. */
export function decode(p: DecoderParams, z: Tensor, config: AutoencoderConfig): Tensor {
  dims(z, 'B h w c', 'decode: z', { c: config.latentChannels });
  let h = middle(p.mid, convolution(p.conv_in, z, { padding: 1 }), config);
  for (const level of [...p.up].reverse()) {
    h = applyLevel(level, h, config);
    if (level.upsample) h = upsampleConvolution(level.upsample, h);
  }
  return end(p, h, config);
}

const EPS = 1e-6;
const norm = (p: NormParams, x: Tensor, { groups }: AutoencoderConfig): Tensor => groupNorm(p, x, { groups, eps: EPS });

function residual(p: ResidualParams, x: Tensor, config: AutoencoderConfig): Tensor {
  const first = convolution(p.conv1, silu(norm(p.norm1, x, config)), { padding: 1 });
  const second = convolution(p.conv2, silu(norm(p.norm2, first, config)), { padding: 1 });
  return tf.add(p.nin_shortcut ? convolution(p.nin_shortcut, x) : x, second);
}

function attend(p: SpatialAttentionParams | undefined, x: Tensor, { groups }: AutoencoderConfig): Tensor {
  return p === undefined ? x : spatialAttention(p, x, { groups, eps: EPS });
}

function applyLevel({ block, attn }: LevelParams, x: Tensor, config: AutoencoderConfig): Tensor {
  return block.reduce((h, p, i) => attend(attn?.[i], residual(p, h, config), config), x);
}

function middle(p: MiddleParams, x: Tensor, config: AutoencoderConfig): Tensor {
  return residual(p.block_2, attend(p.attn_1, residual(p.block_1, x, config), config), config);
}

function end(p: EndParams, x: Tensor, config: AutoencoderConfig): Tensor {
  return convolution(p.conv_out, silu(norm(p.norm_out, x, config)), { padding: 1 });
}

function normParameters(table: ParameterTable, name: string, width: number): void {
  table[`${name}.weight`] = { shape: [width], init: 'ones' };
  table[`${name}.bias`] = { shape: [width], init: 'zeros' };
}

function residualParameters(table: ParameterTable, name: string, inputs: number, outputs: number): void {
  normParameters(table, `${name}.norm1`, inputs);
  Object.assign(table, convolutionParameters(`${name}.conv1`, inputs, outputs, 3));
  normParameters(table, `${name}.norm2`, outputs);
  Object.assign(table, convolutionParameters(`${name}.conv2`, outputs, outputs, 3));
  if (inputs !== outputs) Object.assign(table, convolutionParameters(`${name}.nin_shortcut`, inputs, outputs, 1));
}

/** Adds the parameters of a level, whose first block changes the width. Returns the width after the level. */
function levelParameters(table: ParameterTable, name: string, inputs: number, width: number, blocks: number, attends: boolean): number {
  for (let j = 0; j < blocks; j++) {
    residualParameters(table, `${name}.block.${j}`, j === 0 ? inputs : width, width);
    if (attends) Object.assign(table, spatialAttentionParameters(`${name}.attn.${j}`, width));
  }
  return width;
}

/** Adds the parameters of the middle blocks (`middleWidth` channels), and of the last norm and convolution (from `lastWidth` to `outputs` channels). */
function endParameters(
  table: ParameterTable,
  prefix: string,
  middleWidth: number,
  lastWidth: number,
  outputs: number,
  config: AutoencoderConfig,
): ParameterTable {
  residualParameters(table, `${prefix}mid.block_1`, middleWidth, middleWidth);
  if (config.middleAttention) Object.assign(table, spatialAttentionParameters(`${prefix}mid.attn_1`, middleWidth));
  residualParameters(table, `${prefix}mid.block_2`, middleWidth, middleWidth);
  normParameters(table, `${prefix}norm_out`, lastWidth);
  return Object.assign(table, convolutionParameters(`${prefix}conv_out`, lastWidth, outputs, 3));
}
