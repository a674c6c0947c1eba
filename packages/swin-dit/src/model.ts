import {
  applyDiT,
  ditParameters,
  initParameters,
  multiHeadSelfAttention,
  parameterCount,
  type DiTBlockParams,
  type DiTFinalParams,
  type DiTInputs,
  type DiTParams,
  type ParameterTable,
  type TokenMixer,
} from '@atelier/nn';
import { tf, treeMap, type Rng, type Tensor } from '@atelier/tensor';
import { centreDelta } from './bridge.ts';
import { parseSwinDiT, type SwinDiTConfig, type SwinDiTSettings } from './config.ts';
import { swinDiTLayers, type SwinDiTLayer } from './layers.ts';
import { pswa, type PswaParams } from './pswa.ts';
import { relativePositions } from './relative-position.ts';

/** A block of DiT, whose attention is that of DiT or PSWA. */
export type SwinDiTBlockParams = Omit<DiTBlockParams, 'attn'> & { attn: PswaParams };

/** Parameters under DiT's names; the attention of a block may also have `rel_pos_bias_table`, `bridge.weight` and `bridge.bias`. */
export type SwinDiTParams = Omit<DiTParams, 'blocks' | 'final_layer'> & { blocks: SwinDiTBlockParams[]; final_layer: DiTFinalParams };

const BRIDGE_DEVIATION = 0.02;

/** Shape and initial values of every parameter by name: those of DiT, and for layers without global attention those of `pswa`. */
export function swinDiTParameters(settings: SwinDiTSettings): ParameterTable {
  const config = parseSwinDiT(settings, 'swinDiTParameters');
  const D = config.dit.width;
  const table: ParameterTable = {};
  const layers = swinDiTLayers(config);
  for (const [name, entry] of Object.entries(ditParameters(config.dit))) {
    const [, layer, part] = /^blocks\.(\d+)\.attn\.(.*)$/.exec(name) ?? [];
    const attention = layer === undefined ? undefined : layers[Number(layer)];
    if (attention === undefined || attention.kind === 'global') {
      table[name] = entry;
      continue;
    }
    const { heads, windowHeads: a, window: M, kernel: K } = attention;
    const windowChannels = (D / heads) * a;
    const bridgeChannels = D - windowChannels;
    if (part === 'qkv.weight') table[name] = { shape: [2 * windowChannels + D, D], init: entry.init };
    else if (part === 'qkv.bias') table[name] = { shape: [2 * windowChannels + D], init: entry.init };
    else table[name] = entry;
    if (part !== 'proj.bias') continue;
    const own = `blocks.${layer}.attn`;
    if (a > 0) table[`${own}.rel_pos_bias_table`] = { shape: [relativePositions(M, M), a], init: 'zeros' };
    if (bridgeChannels === 0) continue;
    // The start of `initSwinDiT` is this noise on top of the centre's 1.
    table[`${own}.bridge.weight`] = { shape: [bridgeChannels, 1, K, K], init: { normal: BRIDGE_DEVIATION } };
    table[`${own}.bridge.bias`] = { shape: [bridgeChannels], init: 'zeros' };
  }
  return table;
}

/** Number of trainable parameters, without allocating any (S/2 for 256 pixels: 31,158,980). */
export function swinDiTParameterCount(settings: SwinDiTSettings): number {
  return parameterCount(swinDiTParameters(settings));
}

/**
 * New parameters, initialised as in DiT, so the output of the network is exactly 0. Tables of relative positions start at 0. Bridges start near the
 * identity: 1 at the centre, plus normal noise of standard deviation 0.02 everywhere. The caller owns them.
 */
export function initSwinDiT(rng: Rng, settings: SwinDiTSettings): SwinDiTParams {
  const drawn = initParameters(rng, swinDiTParameters(settings)) as SwinDiTParams;
  return treeMap((leaf, path) => {
    if (!path.endsWith('attn.bridge.weight')) return leaf;
    const centred = tf.tidy(() => tf.add(leaf, centreDelta(leaf.shape)));
    leaf.dispose();
    return centred;
  }, drawn);
}

/**
 * Swin DiT: x [B, H, W, C] -> [B, H, W, C] (or 2C with learned variance). DiT with window attention and bridges in place of global attention, layer by layer
 * as the settings say.
 *
 * @throws Error that names what does not fit: the grid of the image, a window that does not divide it, or parameters of other settings
 */
export function applySwinDiT(params: SwinDiTParams, x: Tensor, inputs: DiTInputs, settings: SwinDiTSettings): Tensor {
  const config = parseSwinDiT(settings, 'applySwinDiT');
  return applyDiT(params as DiTParams, x, inputs, config.dit, { attention: swinDiTAttention(params, config) });
}

/** The token mixer of each block of these parameters, for `applyDiT` and other functions that take a mixer. */
export function swinDiTAttention({ blocks }: { blocks: readonly { attn: PswaParams }[] }, config: SwinDiTConfig): TokenMixer {
  const layers = swinDiTLayers(config);
  const [h, w] = config.grid;
  if (blocks.length !== layers.length) throw new Error(`applySwinDiT: params: wanted ${layers.length} blocks, got ${blocks.length}`);
  const mixers = layers.map((layer, l) => layerAttention(blocks[l]!.attn, layer, config.dit.heads));
  return (u, place) => {
    if (place.h !== h || place.w !== w)
      throw new Error(`applySwinDiT: x: wanted a grid of ${h} x ${w} tokens, got ${place.h} x ${place.w}`);
    return mixers[place.layer]!(u);
  };
}

/** The token mixer of one block: u [B, T, D] -> [B, T, D]. */
export function layerAttention(attn: PswaParams, layer: SwinDiTLayer, heads: number): (u: Tensor) => Tensor {
  return layer.kind === 'global' ? (u) => multiHeadSelfAttention(attn, u, heads) : pswa(attn, layer);
}
