import {
  attention,
  embedTimestep,
  gelu,
  initParameters,
  layerNorm,
  linear,
  modulate,
  parameterCount,
  silu,
  type LinearParams,
  type ParameterTable,
} from '@atelier/nn';
import { dims, parseConfig, tf, type Rng, type Tensor } from '@atelier/tensor';
import { vsaAttention } from './attention.ts';
import { wanBlock, type SelfAttentionInputs, type WanBlockParams } from './block.ts';
import { wanConfig, type WanConfig, type WanSettings } from './config.ts';
import { videoRotaryTables } from './rotary.ts';
import type { Keep } from './select.ts';
import type { Grid } from './tile.ts';

/** Parameters under the names of the official code (FastVideo). */
export type WanParams = {
  patch_embedding: { proj: LinearParams };
  condition_embedder: {
    time_embedder: { mlp: { fc_in: LinearParams; fc_out: LinearParams } };
    time_modulation: { linear: LinearParams };
    text_embedder?: { fc_in: LinearParams; fc_out: LinearParams };
  };
  blocks: WanBlockParams[];
  /** [1, 2, C]. */
  scale_shift_table: Tensor;
  proj_out: LinearParams;
};

/** Self-attention of block `layer` between the tokens of a grid. */
export type LayerMixer = (inputs: SelfAttentionInputs, place: { layer: number; grid: Grid }) => Tensor;

/** How tokens see each other: the selected tiles, all of them without tiles (`dense`, and the gate must not be there), or anybody's own attention. */
export type WanAttention = Keep | 'dense' | LayerMixer;

/** Shape and initial values of every parameter by name. */
export function wanParameters(settings: WanSettings): ParameterTable {
  const c = parseConfig(wanConfig, settings, 'wanParameters');
  const C = c.heads * c.headDim;
  const patch = c.patch[0] * c.patch[1] * c.patch[2];
  const table: ParameterTable = {
    ...linearEntry('patch_embedding.proj', C, c.inChannels, c.patch),
    ...linearEntry('condition_embedder.time_embedder.mlp.fc_in', C, c.freqDim),
    ...linearEntry('condition_embedder.time_embedder.mlp.fc_out', C, C),
    ...linearEntry('condition_embedder.time_modulation.linear', 6 * C, C),
    scale_shift_table: { shape: [1, 2, C], init: { normal: C ** -0.5 } },
    ...linearEntry('proj_out', c.inChannels * patch, C),
  };
  if (c.textDim > 0) {
    Object.assign(table, linearEntry('condition_embedder.text_embedder.fc_in', C, c.textDim));
    Object.assign(table, linearEntry('condition_embedder.text_embedder.fc_out', C, C));
  }
  for (let layer = 0; layer < c.layers; layer++)
    for (const [name, entry] of Object.entries(blockParameters(c))) table[`blocks.${layer}.${name}`] = entry;
  return table;
}

/** The parameters of one block; the gate starts at zero, where the coarse output does not count. */
export function blockParameters(settings: WanSettings): ParameterTable {
  const c = parseConfig(wanConfig, settings, 'blockParameters');
  const C = c.heads * c.headDim;
  const attentionEntries = (prefix: string): ParameterTable => ({
    ...Object.assign({}, ...['to_q', 'to_k', 'to_v', 'to_out'].map((name) => linearEntry(`${prefix}${name}`, C, C))),
    [`${prefix}norm_q.weight`]: { shape: [C], init: 'ones' },
    [`${prefix}norm_k.weight`]: { shape: [C], init: 'ones' },
  });
  const table: ParameterTable = {
    scale_shift_table: { shape: [1, 6, C], init: { normal: C ** -0.5 } },
    ...attentionEntries(''),
    ...linearEntry('ffn.fc_in', c.ffnDim, C),
    ...linearEntry('ffn.fc_out', C, c.ffnDim),
  };
  if (c.gate)
    Object.assign(table, {
      'to_gate_compress.weight': { shape: [C, C], init: 'zeros' },
      'to_gate_compress.bias': { shape: [C], init: 'zeros' },
    });
  if (c.textDim === 0) return table;
  return {
    ...table,
    'self_attn_residual_norm.norm.weight': { shape: [C], init: 'ones' },
    'self_attn_residual_norm.norm.bias': { shape: [C], init: 'zeros' },
    ...attentionEntries('attn2.'),
  };
}

const linearEntry = (name: string, out: number, inputs: number, kernel: readonly number[] = []): ParameterTable => ({
  [`${name}.weight`]: { shape: [out, inputs, ...kernel], init: 'torch' },
  [`${name}.bias`]: { shape: [out], init: { uniform: (inputs * kernel.reduce((a, b) => a * b, 1)) ** -0.5 } },
});

/** Number of parameters, without allocating any. */
export const wanParameterCount = (settings: WanSettings): number => parameterCount(wanParameters(settings));

/** New parameters, the caller's to dispose. */
export const initWan = (rng: Rng, settings: WanSettings): WanParams => initParameters(rng, wanParameters(settings)) as WanParams;

/** The grid of tokens of a video [B, F, H, W, C]. @throws Error if patches do not fit */
export function tokenGrid(video: Tensor, patch: Grid, where: string): Grid {
  const { F, H, W } = dims<'F' | 'H' | 'W'>(video, 'B F H W C', where);
  const sides = [F, H, W] as const;
  if (sides.some((side, axis) => side % patch[axis]! !== 0))
    throw new Error(`${where}: wanted sides that patches of ${patch.join(' x ')} divide, got ${sides.join(' x ')}`);
  return sides.map((side, axis) => side / patch[axis]!) as unknown as Grid;
}

/**
 * The video transformer: x [B, F, H, W, C_in] at times t [B] -> velocity e - x₀ [B, F, H, W, C_in].
 *
 * @param inputs.t σ in [0, 1], 0 data and 1 noise; the network gets 1000·t
 * @param inputs.text [B, S, textDim], for a network with text
 * @throws Error that names what does not fit
 */
export function applyWan(
  params: WanParams,
  x: Tensor,
  inputs: { t: Tensor; text?: Tensor | undefined },
  settings: WanSettings,
  attend: WanAttention,
): Tensor {
  const config = parseConfig(wanConfig, settings, 'applyWan');
  const { B } = dims<'B'>(x, 'B F H W C', 'applyWan: x', { C: config.inChannels });
  dims(inputs.t, 'B', 'applyWan: t', { B });
  if (params.blocks.length !== config.layers)
    throw new Error(`applyWan: params: wanted ${config.layers} blocks, got ${params.blocks.length}`);
  const grid = tokenGrid(x, config.patch, 'applyWan: x');
  const { temb, modulation } = embedTime(params, inputs.t);
  const text = embedText(params, inputs.text, config, B);
  const rotary = videoRotaryTables(grid, config.headDim);
  const mixer = mixerOf(attend, config);
  const tokens = params.blocks.reduce(
    (tokens, block, layer) => wanBlock(block, tokens, { modulation, text }, rotary, (parts) => mixer(parts, { layer, grid }), config),
    embedPatches(params.patch_embedding.proj, x, grid, config.patch),
  );
  const [shift, scale] = tf.split(tf.add(params.scale_shift_table, tf.expandDims(temb, 1)), 2, 1);
  const patches = linear(params.proj_out, modulate(layerNorm(tokens, { eps: config.eps }), shift!, scale!));
  return joinPatches(patches, grid, config.patch);
}

/** Self-attention as a function of layer and grid. */
function mixerOf(attend: WanAttention, config: WanConfig): LayerMixer {
  if (typeof attend === 'function') return attend;
  if (attend !== 'dense')
    return ({ q, k, v, gate }, { grid }) => vsaAttention(q, k, v, { grid, tile: config.tile, ...attend, gate: gate ?? tf.zerosLike(q) });
  if (config.gate) throw new Error("applyWan: attention: wanted a network without a gate for 'dense', got one with a gate");
  return ({ q, k, v }) => attention(q, k, v);
}

/** Time features of 1000·t: temb [B, C], and the six vectors of a block [B, 6, C]. */
function embedTime({ condition_embedder: p }: WanParams, t: Tensor): { temb: Tensor; modulation: Tensor } {
  const { fc_in, fc_out } = p.time_embedder.mlp;
  const temb = embedTimestep({ mlp: { 0: fc_in, 2: fc_out } }, t, { timeScale: 1000 });
  const modulation = linear(p.time_modulation.linear, silu(temb));
  return { temb, modulation: tf.reshape(modulation, [temb.shape[0]!, 6, temb.shape[1]!]) };
}

function embedText({ condition_embedder: p }: WanParams, text: Tensor | undefined, { textDim }: WanConfig, B: number): Tensor | undefined {
  if (textDim > 0 !== (text !== undefined))
    throw new Error(
      `applyWan: text: wanted ${textDim > 0 ? `text [B, S, ${textDim}]` : 'none in a network without text'}, got ${text ? 'some' : 'none'}`,
    );
  if (text === undefined) return undefined;
  dims(text, 'B S D', 'applyWan: text', { B, D: textDim });
  return linear(p.text_embedder!.fc_out, gelu(linear(p.text_embedder!.fc_in, text), 'tanh'));
}

/** Patches of a video as rows of (frame, row, column, channel): [B, F, H, W, C] -> [B, T, p·C]. */
function cutPatches(x: Tensor, [t, h, w]: Grid, [a, b, g]: Grid): Tensor {
  const { B, C } = dims<'B' | 'C'>(x, 'B F H W C', 'applyWan: x');
  const split = tf.reshape(x, [B * t, a, h, b, w, g * C]); // -> [B·t, a, h, b, w, g·C]
  return tf.reshape(tf.transpose(split, [0, 2, 4, 1, 3, 5]), [B, t * h * w, a * b * g * C]);
}

/** A convolution whose stride is its kernel: weight [C, in, a, b, g]. */
function embedPatches({ weight, bias }: LinearParams, x: Tensor, grid: Grid, patch: Grid): Tensor {
  const rows = tf.reshape(tf.transpose(weight, [0, 2, 3, 4, 1]), [weight.shape[0]!, -1]); // [C, in, a, b, g] -> [C, a·b·g·in]
  return linear({ weight: rows, bias }, cutPatches(x, grid, patch));
}

/** The inverse of `cutPatches`: [B, T, p·C] -> [B, F, H, W, C]. */
function joinPatches(rows: Tensor, [t, h, w]: Grid, [a, b, g]: Grid): Tensor {
  const [B, , size] = rows.shape as [number, number, number];
  const C = size / (a * b * g);
  const split = tf.reshape(rows, [B * t, h, w, a, b, g * C]);
  return tf.reshape(tf.transpose(split, [0, 3, 1, 4, 2, 5]), [B, t * a, h * b, w * g, C]);
}
