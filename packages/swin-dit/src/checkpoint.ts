import { ditParameters, loadParameters, type DiTBlockParams, type DiTParams, type StateDict } from '@atelier/nn';
import { flattenTree, tf, type Tensor } from '@atelier/tensor';
import { centreDelta } from './bridge.ts';
import { parseSwinDiT, type SwinDiTSettings } from './config.ts';
import { swinDiTLayers } from './layers.ts';
import { swinDiTParameters, type SwinDiTParams } from './model.ts';
import type { PswaLayer, PswaParams } from './pswa.ts';
import { relativePositions } from './relative-position.ts';

/** Parameters of a Swin DiT from a state dict under our names. The caller owns them. @throws Error naming every tensor that does not fit */
export function swinDiTFromStateDict(tensors: StateDict, settings: SwinDiTSettings): SwinDiTParams {
  return loadParameters(swinDiTParameters(settings), tensors, {}, 'swinDiTFromStateDict') as SwinDiTParams;
}

/**
 * Parameters of a Swin DiT from those of the DiT that its settings hold (`ditFromStateDict` reads checkpoints of both name schemes): window heads keep
 * their queries and keys, all heads their values and the projection; relative positions start at 0, bridges pass their values on.
 *
 * Layers that attend globally are the same function as before, and so is one whose heads are all window heads of one window over the whole grid; what
 * bridging heads attended to is lost. The caller owns the new parameters.
 *
 * @throws Error naming every parameter that the settings do not fit
 */
export function swinDiTFromDiT(params: DiTParams, settings: SwinDiTSettings): SwinDiTParams {
  const config = parseSwinDiT(settings, 'swinDiTFromDiT');
  const layers = swinDiTLayers(config);
  const copy = loadParameters(ditParameters(config.dit), flattenTree(params), {}, 'swinDiTFromDiT') as DiTParams;
  copy.blocks.forEach((block, l) => {
    const layer = layers[l]!;
    if (layer.kind !== 'global') block.attn = pswaFromAttention(block.attn, layer, layer.kernel);
  });
  return copy as SwinDiTParams;
}

/** The attention of one layer; takes over `attn`, whose tensors are used or disposed. */
function pswaFromAttention(attn: DiTBlockParams['attn'], { heads, windowHeads: a, window: M }: PswaLayer, K: number): PswaParams {
  const D = attn.proj.bias.shape[0]!;
  const windowChannels = (D / heads) * a;
  const bridgeChannels = D - windowChannels;
  const kept = (rows: Tensor): Tensor =>
    tf.tidy(() => {
      const [q, k, v] = tf.split(rows, 3, 0);
      const first = (part: Tensor): Tensor => tf.slice(part, [0], [windowChannels]);
      return windowChannels === 0 ? v!.clone() : tf.concat([first(q!), first(k!), v!], 0);
    });
  const qkv = { weight: kept(attn.qkv.weight), bias: kept(attn.qkv.bias) };
  tf.dispose(attn.qkv);
  return {
    qkv,
    proj: attn.proj,
    ...(a > 0 && { rel_pos_bias_table: tf.zeros([relativePositions(M, M), a]) }),
    ...(bridgeChannels > 0 && { bridge: { weight: centreDelta([bridgeChannels, 1, K, K]), bias: tf.zeros([bridgeChannels]) } }),
  };
}
