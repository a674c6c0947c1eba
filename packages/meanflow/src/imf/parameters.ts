import { parameterCount, type Init, type Layout, type ParameterTable } from '@atelier/nn';
import { parseConfig } from '@atelier/tensor';
import type { FlaxName } from '../flax.ts';
import { imfConfig, type ImfSettings } from './config.ts';

type Row = FlaxName & { shape: number[]; init: Init };

/** Attention and MLP weights start from N(0, 0.32/√fan_in); this is the factor 0.32. */
const BLOCK_INIT = 0.32;

/** Every parameter: our path, its name in the official Flax checkpoint, its shape and its official initial values. */
function imfRows(settings: ImfSettings): Row[] {
  const config = parseConfig(imfConfig, settings, 'imfParameters');
  const { inChannels: C, patchSize: P, width: D, heads, headDepth, depth, frequencySize } = config;
  const rows: Row[] = [];
  const add = (path: string, flax: string, shape: number[], init: Init, layout: Layout = 'same'): void => {
    rows.push({ path, flax: `net/${flax}`, shape, init, layout });
  };
  const linear = (path: string, flax: string, out: number, width: number, init: Init, bias: boolean): void => {
    add(`${path}.weight`, `${flax}/_flax_linear/kernel`, [out, width], init, 'flax-linear');
    if (bias) add(`${path}.bias`, `${flax}/_flax_linear/bias`, [out], 'zeros');
  };
  const norm = (path: string, flax: string, width: number): void => add(`${path}.weight`, `${flax}/kernel`, [width], 'ones');

  const tokens = {
    time: config.timeTokens,
    class: config.classTokens,
    omega: config.guidanceTokens,
    t_min: config.intervalTokens,
    t_max: config.intervalTokens,
  };
  for (const [name, count] of Object.entries(tokens)) add(`${name}_tokens`, `${name}_tokens`, [count, D], { normal: 1 / Math.sqrt(D) });
  add('x_embedder.proj.weight', 'x_embedder/proj/kernel', [D, C, P, P], 'xavier', 'flax-convolution');
  add('x_embedder.proj.bias', 'x_embedder/proj/bias', [D], 'zeros');
  for (const name of ['h_embedder', 'omega_embedder', 'cfg_t_start_embedder', 'cfg_t_end_embedder']) {
    linear(`${name}.mlp.0`, `${name}/mlp/layers_0`, D, frequencySize, { normal: 1 / Math.sqrt(frequencySize) }, true);
    linear(`${name}.mlp.2`, `${name}/mlp/layers_2`, D, D, { normal: 1 / Math.sqrt(D) }, true);
  }
  const table = 'y_embedder/embedding_table/_flax_embedding/embedding';
  add('y_embedder.embedding_table.weight', table, [config.numClasses + 1, D], { normal: 1 / Math.sqrt(D) });

  const hidden = Math.floor(D * config.mlpRatio);
  const weight = (fanIn: number): Init => ({ normal: BLOCK_INIT / Math.sqrt(fanIn) });
  const blocks = { shared_blocks: depth - headDepth, u_heads: headDepth, v_heads: headDepth };
  for (const [group, count] of Object.entries(blocks)) {
    for (let l = 0; l < count; l++) {
      const [path, flax] = [`${group}.${l}`, `${group}_${l}`];
      for (const gate of ['attn_scale', 'mlp_scale']) add(`${path}.${gate}`, `${flax}/${gate}`, [D], 'zeros');
      for (const name of ['norm1', 'norm2']) norm(`${path}.${name}`, `${flax}/${name}`, D);
      for (const name of ['q_norm', 'k_norm']) norm(`${path}.attn.${name}`, `${flax}/attn/${name}`, D / heads);
      for (const name of ['q_proj', 'k_proj', 'v_proj', 'out_proj'])
        linear(`${path}.attn.${name}`, `${flax}/attn/${name}`, D, D, weight(D), false);
      for (const name of ['w1', 'w3']) linear(`${path}.mlp.${name}`, `${flax}/mlp/${name}`, hidden, D, weight(D), false);
      linear(`${path}.mlp.w2`, `${flax}/mlp/w2`, D, hidden, weight(hidden), false);
    }
  }
  for (const name of ['u_final_layer', 'v_final_layer']) {
    norm(`${name}.norm`, `${name}/norm`, D);
    linear(`${name}.linear`, `${name}/linear`, P * P * C, D, 'zeros', true);
  }
  return rows;
}

/** Shape and official initial values of every parameter, by its path. */
export function imfParameters(settings: ImfSettings): ParameterTable {
  return Object.fromEntries(imfRows(settings).map(({ path, shape, init }) => [path, { shape, init }]));
}

/** The rename table between our paths and those of a checkpoint of the official JAX code (Lyy-iiis/imeanflow). */
export function imfFlaxNames(settings: ImfSettings): FlaxName[] {
  return imfRows(settings).map(({ path, flax, layout }) => ({ path, flax, layout }));
}

/** Number of trainable parameters, without allocating any. */
export function imfParameterCount(settings: ImfSettings): number {
  return parameterCount(imfParameters(settings));
}
