import { loadParameters, type StateDict } from '@atelier/nn';
import { flattenTree, parseConfig, tf, type Tensor } from '@atelier/tensor';
import { wanConfig, type WanSettings } from './config.ts';
import { wanParameters, type WanParams } from './model.ts';

/** Names of the released checkpoints (diffusers) for the beginnings of the names of the official code; the gate has one name in both. */
const DIFFUSERS: readonly (readonly [RegExp, string])[] = [
  [/^patch_embedding\.proj\./, 'patch_embedding.'],
  [/^(condition_embedder\.time_embedder)\.mlp\.fc_in\./, '$1.linear_1.'],
  [/^(condition_embedder\.time_embedder)\.mlp\.fc_out\./, '$1.linear_2.'],
  [/^condition_embedder\.time_modulation\.linear\./, 'condition_embedder.time_proj.'],
  [/^(condition_embedder\.text_embedder)\.fc_in\./, '$1.linear_1.'],
  [/^(condition_embedder\.text_embedder)\.fc_out\./, '$1.linear_2.'],
  [/^(blocks\.\d+)\.(to_[qkv]|norm_[qk])\./, '$1.attn1.$2.'],
  [/^(blocks\.\d+)\.to_out\./, '$1.attn1.to_out.0.'],
  [/^(blocks\.\d+)\.self_attn_residual_norm\.norm\./, '$1.norm2.'],
  [/^(blocks\.\d+)\.attn2\.to_out\./, '$1.attn2.to_out.0.'],
  [/^(blocks\.\d+)\.ffn\.fc_in\./, '$1.ffn.net.0.proj.'],
  [/^(blocks\.\d+)\.ffn\.fc_out\./, '$1.ffn.net.2.'],
];

const diffusersName = (name: string): string => DIFFUSERS.reduce((text, [from, to]) => text.replace(from, to), name);

/**
 * Parameters of a Wan transformer from a checkpoint of the official code or of diffusers. The caller owns them.
 *
 * A checkpoint without gates is refused by a network with gates, because it would run as another model. `retrofitWan` says so on purpose.
 *
 * @throws Error that names every tensor that is missing, unknown, or of another shape
 */
export function wanFromStateDict(tensors: StateDict, settings: WanSettings): WanParams {
  return load(tensors, settings, 'wanFromStateDict');
}

/**
 * A dense Wan transformer as one with video sparse attention: the same parameters, and gates whose weights and biases are zero. With all tiles
 * selected it is the same function; then `annealedKeep` lowers the number of tiles during training. The caller owns the new parameters.
 *
 * @param dense the parameters, or a checkpoint; without gates
 * @param settings of the sparse network
 * @throws Error if the tensors are those of another width or depth, or have gates
 */
export function retrofitWan(dense: WanParams | StateDict, settings: WanSettings): WanParams {
  const config = parseConfig(wanConfig, settings, 'retrofitWan');
  if (!config.gate) throw new Error('retrofitWan: settings: wanted a network with a gate, got one without');
  const tensors = 'blocks' in dense ? flattenTree(dense as WanParams) : (dense as StateDict);
  const params = load(tensors, { ...config, gate: false }, 'retrofitWan');
  const C = config.heads * config.headDim;
  return {
    ...params,
    blocks: params.blocks.map((block) => ({ ...block, to_gate_compress: { weight: tf.zeros([C, C]), bias: tf.zeros([C]) } })),
  };
}

function load(tensors: Readonly<Record<string, StateDict[string] | Tensor>>, settings: WanSettings, where: string): WanParams {
  const isDiffusers = 'patch_embedding.weight' in tensors;
  return loadParameters(wanParameters(settings), tensors, isDiffusers ? { rename: diffusersName } : {}, where) as WanParams;
}
