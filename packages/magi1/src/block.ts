import { attention, gelu, layerNorm, linear, mergeHeads, silu, type LinearParams } from '@atelier/nn';
import { tf, type Tensor } from '@atelier/tensor';
import { MIXED_GROUPS, type MagiConfig } from './config.ts';
import { rotateTokens, type Rotation } from './rotary.ts';
import type { TextGroup } from './text.ts';

export type NormParams = { weight: Tensor; bias: Tensor };

/** Weights of a layer under their official names. */
export type MagiLayerParams = {
  ada_modulate_layer: { proj: { 0: LinearParams } };
  self_attention: {
    linear_qkv: { layer_norm: NormParams; q: { weight: Tensor }; qx: { weight: Tensor }; k: { weight: Tensor }; v: { weight: Tensor } };
    linear_kv_xattn: { weight: Tensor };
    linear_proj: { weight: Tensor };
    q_layernorm: NormParams;
    k_layernorm: NormParams;
    q_layernorm_xattn: NormParams;
    k_layernorm_xattn: NormParams;
  };
  self_attn_post_norm: NormParams;
  mlp_post_norm: NormParams;
  mlp: { layer_norm: NormParams; linear_fc1: { weight: Tensor }; linear_fc2: { weight: Tensor } };
};

// Sizes in this file: M chunks of P tokens in a call, T = M·P tokens; D, nh, nk, hd as in `MagiConfig`; L tokens of a text.

/** Attention of the tokens of a call to each other and to cached tokens: q [B, nh, T, hd], k and v [B, nk, T, hd] -> [B, nh, T, hd]. */
export type SelfAttention = (q: Tensor, k: Tensor, v: Tensor, layer: number) => Tensor;

const EPS = 1e-6;
/** The ordinary layer norm: its gain is the weight. */
const plainNorm = (p: NormParams, x: Tensor): Tensor => layerNorm(x, { eps: EPS, weight: p.weight, bias: p.bias });
/** The layer norm whose gain is 1 + weight ("1p"). */
export const norm1p = (p: NormParams, x: Tensor): Tensor => layerNorm(x, { eps: EPS, weight: tf.add(p.weight, 1), bias: p.bias });

const heads = (x: Tensor, hd: number): Tensor => tf.reshape(x, [...x.shape.slice(0, -1), -1, hd]); // [.., K·hd] -> [.., K, hd]
const headsFirst = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 1, 3]); // [B, T, K, hd] -> [B, K, T, hd]

/**
 * h [B, T, D] -> q [B, nh, T, hd], k and v [B, nk, T, hd] for self-attention, with rotary positions `turn`; and qx [B, T, nh, hd], the queries of
 * attention to text.
 */
export function queriesKeysValues(
  p: MagiLayerParams['self_attention'],
  h: Tensor,
  turn: Rotation,
  { headDim: hd }: MagiConfig,
): Record<'q' | 'k' | 'v' | 'qx', Tensor> {
  const z = plainNorm(p.linear_qkv.layer_norm, h);
  const of = (name: 'q' | 'qx' | 'k' | 'v'): Tensor => heads(linear(p.linear_qkv[name], z), hd);
  return {
    q: rotateTokens(headsFirst(norm1p(p.q_layernorm, of('q'))), turn),
    k: rotateTokens(headsFirst(norm1p(p.k_layernorm, of('k'))), turn),
    v: headsFirst(of('v')),
    qx: norm1p(p.q_layernorm_xattn, of('qx')),
  };
}

/** Keys and values of n texts [n, L, D] -> two [n, nk, L, hd]. The rows of the weight come head by head: hd rows of the key, then hd of the value. */
export function textKeysValues(p: MagiLayerParams['self_attention'], text: Tensor, { headDim: hd, kvHeads }: MagiConfig): [Tensor, Tensor] {
  const D = text.shape[2]!;
  const [keys, values] = tf
    .split(tf.reshape(p.linear_kv_xattn.weight, [kvHeads, 2, hd, D]), 2, 1)
    .map((weight) => heads(linear({ weight: tf.reshape(weight, [kvHeads * hd, D]) }, text), hd)); // -> [n, L, nk, hd]
  return [headsFirst(norm1p(p.k_layernorm_xattn, keys!)), headsFirst(values!)];
}

/** Attention of every chunk to its own text: qx [B, M·P, nh, hd] -> [B, M·P, nh·hd]. The features of `texts` are embedded already, [.., L, D] (`embedText`). */
export function attendText(
  p: MagiLayerParams['self_attention'],
  qx: Tensor,
  texts: readonly TextGroup[],
  config: MagiConfig,
  M: number,
): Tensor {
  const [B, T] = qx.shape as [number, number];
  const { heads: nh, kvHeads: nk, headDim: hd } = config;
  const P = T / M;
  const sizes = texts.map(({ chunks }) => chunks * P);
  const queries = texts.length === 1 ? [qx] : tf.split(qx, sizes, 1);
  const parts = texts.map(({ features, mask }, i) => {
    const [, , L, D] = features.shape as [number, number, number, number];
    const n = features.shape[0]! * features.shape[1]!; // texts: one for all rows, or one for each chunk of each sample
    const rows = (B * sizes[i]!) / n;
    const [k, v] = textKeysValues(p, tf.reshape(features, [n, L, D]), config);
    const perText = headsFirst(tf.reshape(queries[i]!, [n, rows, nh, hd])); // -> [n, nh, rows, hd]
    const grouped = tf.reshape(perText, [n, nk, (nh / nk) * rows, hd]);
    const out = attention(grouped, k, v, mask === undefined ? {} : { mask: tf.reshape(mask, [n, 1, 1, L]) });
    return tf.reshape(mergeHeads(tf.reshape(out, [n, nh, rows, hd])), [B, sizes[i]!, nh * hd]);
  });
  return parts.length === 1 ? parts[0]! : tf.concat(parts, 1);
}

/**
 * The common output projection of self- and cross-attention: two [B, T, nh·hd] -> [B, T, D]. In the official weight, the columns for both alternate:
 * 1/8 of those for self-attention, 1/8 of those for cross-attention, and so on.
 */
export function project({ linear_proj: { weight } }: MagiLayerParams['self_attention'], self: Tensor, cross: Tensor): Tensor {
  const [D, columns] = weight.shape as [number, number];
  const grouped = tf.reshape(weight, [D, MIXED_GROUPS, 2, columns / (2 * MIXED_GROUPS)]);
  const [ofSelf, ofCross] = tf.split(grouped, 2, 2).map((part) => tf.reshape(part, [D, columns / 2]));
  return tf.add(linear({ weight: ofSelf! }, self), linear({ weight: ofCross! }, cross));
}

/** Gates of attention and of the MLP, each [B, M, 1, D]: tanh of a linear layer of SiLU(cond), cond [B, M, D/4]. */
export function gates(p: MagiLayerParams['ada_modulate_layer'], cond: Tensor): [attention: Tensor, mlp: Tensor] {
  const [B, M] = cond.shape as [number, number];
  const both = tf.tanh(linear(p.proj[0], silu(cond))); // -> [B, M, 2D]
  const parts = tf.split(both, 2, 2).map((gate) => tf.reshape(gate, [B, M, 1, -1]));
  return parts as [Tensor, Tensor];
}

/** Norm, linear, activation, linear, without biases: [B, T, D] -> [B, T, D]. */
export function feedForward(p: MagiLayerParams['mlp'], h: Tensor, { gated }: MagiConfig): Tensor {
  const hidden = linear(p.linear_fc1, plainNorm(p.layer_norm, h));
  if (!gated) return linear(p.linear_fc2, gelu(hidden, 'erf'));
  const [gate, value] = tf.split(hidden, 2, hidden.rank - 1) as [Tensor, Tensor];
  return linear(p.linear_fc2, tf.mul(silu(gate), value));
}

/** Multiplies a branch by the gate of its chunk, and normalizes the product: branch [B, M·P, D], gate [B, M, 1, D] -> [B, M·P, D]. */
function gateThenNorm(p: NormParams, gate: Tensor, branch: Tensor): Tensor {
  const [B, T, D] = branch.shape as [number, number, number];
  const M = gate.shape[1]!;
  return norm1p(p, tf.reshape(tf.mul(gate, tf.reshape(branch, [B, M, T / M, D])), [B, T, D]));
}

/** What all layers of a call share: the condition of each chunk [B, M, D/4], rotary positions, embedded texts, and self-attention. */
export type LayerInputs = { cond: Tensor; turn: Rotation; texts: readonly TextGroup[]; attend: SelfAttention };

/** One layer: h [B, M·P, D] -> h, and the keys and values [B, nk, M·P, hd] of its tokens, which may be cached. */
export function magiLayer(
  p: MagiLayerParams,
  h: Tensor,
  { cond, turn, texts, attend }: LayerInputs,
  layer: number,
  config: MagiConfig,
): { h: Tensor; k: Tensor; v: Tensor } {
  const M = cond.shape[1]!;
  const { q, k, v, qx } = queriesKeysValues(p.self_attention, h, turn, config);
  const self = mergeHeads(attend(q, k, v, layer));
  const cross = attendText(p.self_attention, qx, texts, config, M);
  const [attentionGate, mlpGate] = gates(p.ada_modulate_layer, cond);
  const mixed = tf.add(h, gateThenNorm(p.self_attn_post_norm, attentionGate, project(p.self_attention, self, cross)));
  return { h: tf.add(mixed, gateThenNorm(p.mlp_post_norm, mlpGate, feedForward(p.mlp, mixed, config))), k, v };
}
