import type { ParameterTable } from '@atelier/nn';
import { parameterCount } from '@atelier/nn';
import { parseConfig } from '@atelier/tensor';
import { z } from 'zod';

const size = z.int().min(1);

/** Settings of the network. A token is a patch of one latent frame. How many frames a chunk has is decided by each call, not here. */
export const magiConfig = z
  .strictObject({
    /** Transformer layers. */
    layers: size,
    /** D, width of the residual stream. */
    width: size,
    /** F, hidden width of the MLPs. */
    hidden: size,
    /** nh, heads of queries. */
    heads: size,
    /** nk, heads of keys and values; query head h uses head ⌊h·nk/nh⌋. */
    kvHeads: size,
    /** hd, width of a head. */
    headDim: size,
    /** SwiGLU (24B) instead of the erf GELU (4.5B). */
    gated: z.boolean().default(false),
    /** C, channels of a latent frame. */
    channels: size,
    /**
     * Whether the input is the latent twice, side by side in the channels, and only the first half of the output is used (24B: a network of 32
     * channels on latents of 16).
     */
    halfChannel: z.boolean().default(false),
    /** ρ: latents are multiplied by it before the network, and velocities divided by it after. */
    rescale: z.number().positive().default(1),
    /** Height and width of a patch. */
    patch: z.tuple([size, size]).default([2, 2]),
    /** Y, width of a text feature. */
    captionChannels: size,
    /** Rows of the learned table of the null caption. Its last two rows also make the part of the condition that says "with text" or "without text". */
    captionLength: z.int().min(2),
    /** How many rows of that table are the tokens of the null caption, from the first on. */
    nullTokens: size.default(50),
  })
  .superRefine((c, context) => {
    const fault = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    if (c.heads % c.kvHeads !== 0) fault('kvHeads', `wanted a divisor of the ${c.heads} heads, got ${c.kvHeads}`);
    if (c.headDim % 8 !== 0) fault('headDim', `wanted a multiple of 8, got ${c.headDim}`);
    if (c.width % 4 !== 0) fault('width', `wanted a multiple of 4, got ${c.width}`);
    if (c.nullTokens > c.captionLength) fault('captionLength', `wanted at least the ${c.nullTokens} null tokens, got ${c.captionLength}`);
  });

/** All settings, defaults filled in. */
export type MagiConfig = z.output<typeof magiConfig>;
/** Settings as written, defaults left out. */
export type MagiSettings = z.input<typeof magiConfig>;

/** In how many groups the outputs of self- and cross-attention alternate before the projection (`project`). */
export const MIXED_GROUPS = 8;
/** How many sines and cosines embed a time. */
const TIME_FEATURES = 256;

/**
 * Shape and initialization of every parameter, by official name. The official initialization is not published. Here linear layers have Xavier's, and
 * the last one is zero. The biases of the gates start at 1: a gate of 0 would make the norm after it divide by 0.
 */
export function magiParameters(settings: MagiSettings): ParameterTable {
  const c = parseConfig(magiConfig, settings, 'magiParameters');
  const [D, condition, hd] = [c.width, c.width / 4, c.headDim];
  const channels = c.channels * (c.halfChannel ? 2 : 1);
  const table: ParameterTable = {};
  const weight = (name: string, ...shape: number[]): void => void (table[`${name}.weight`] = { shape, init: 'xavier' });
  const layer = (name: string, out: number, width: number): void => {
    weight(name, out, width);
    table[`${name}.bias`] = { shape: [out], init: 'zeros' };
  };
  /** A layer norm whose gain is the weight, or (`plusOne`) 1 + the weight. */
  const norm = (name: string, width: number, plusOne: boolean): void => {
    table[`${name}.weight`] = { shape: [width], init: plusOne ? 'zeros' : 'ones' };
    table[`${name}.bias`] = { shape: [width], init: 'zeros' };
  };
  weight('x_embedder', D, channels, 1, ...c.patch);
  layer('t_embedder.mlp.0', condition, TIME_FEATURES);
  layer('t_embedder.mlp.2', condition, condition);
  table['y_embedder.null_caption_embedding'] = { shape: [c.captionLength, c.captionChannels], init: { normal: 1 } };
  layer('y_embedder.y_proj_xattn.0', D, c.captionChannels);
  layer('y_embedder.y_proj_adaln.0', condition, c.captionChannels);
  table['rope.bands'] = { shape: [hd / 8], init: 'zeros' }; // `initMagi` puts the frequencies in
  for (let i = 0; i < c.layers; i++) {
    const at = `videodit_blocks.layers.${i}`;
    weight(`${at}.ada_modulate_layer.proj.0`, 2 * D, condition);
    table[`${at}.ada_modulate_layer.proj.0.bias`] = { shape: [2 * D], init: 'ones' };
    const attention = `${at}.self_attention`;
    norm(`${attention}.linear_qkv.layer_norm`, D, false);
    for (const name of ['q', 'qx']) weight(`${attention}.linear_qkv.${name}`, c.heads * hd, D);
    for (const name of ['k', 'v']) weight(`${attention}.linear_qkv.${name}`, c.kvHeads * hd, D);
    weight(`${attention}.linear_kv_xattn`, 2 * c.kvHeads * hd, D);
    weight(`${attention}.linear_proj`, D, 2 * c.heads * hd);
    for (const name of ['q', 'k', 'q_xattn', 'k_xattn']) {
      const [which, cross] = name.split('_');
      norm(`${attention}.${which}_layernorm${cross ? `_${cross}` : ''}`, hd, true);
    }
    norm(`${at}.self_attn_post_norm`, D, true);
    norm(`${at}.mlp_post_norm`, D, true);
    norm(`${at}.mlp.layer_norm`, D, false);
    weight(`${at}.mlp.linear_fc1`, (c.gated ? 2 : 1) * c.hidden, D);
    weight(`${at}.mlp.linear_fc2`, D, c.hidden);
  }
  norm('videodit_blocks.final_layernorm', D, true);
  table['final_linear.linear.weight'] = { shape: [c.patch[0] * c.patch[1] * channels, D], init: 'zeros' };
  return table;
}

/** Number of trained parameters, without allocating any. */
export const magiParameterCount = (settings: MagiSettings): number => parameterCount(magiParameters(settings));

/** Settings of the published models (4.460 and 23.899 billion parameters). */
export const publishedMagi = {
  '4.5B': {
    layers: 34,
    width: 3072,
    hidden: 12288,
    heads: 24,
    kvHeads: 8,
    headDim: 128,
    channels: 16,
    captionChannels: 4096,
    captionLength: 800,
  },
  '24B': {
    layers: 48,
    width: 6144,
    hidden: 16384,
    heads: 48,
    kvHeads: 8,
    headDim: 128,
    gated: true,
    channels: 16,
    halfChannel: true,
    rescale: 0.1,
    captionChannels: 4096,
    captionLength: 800,
  },
} as const satisfies Record<string, MagiSettings>;
