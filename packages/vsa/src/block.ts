import {
  attention,
  gelu,
  layerNorm,
  linear,
  mergeHeads,
  modulate,
  rmsNorm,
  rotatePairs,
  splitHeads,
  type LinearParams,
  type RotaryTables,
} from '@atelier/nn';
import { dims, tf, type Tensor } from '@atelier/tensor';

/** An attention of Wan: projections with biases, and the norms of all channels of q and k together. */
export type WanAttentionParams = {
  to_q: LinearParams;
  to_k: LinearParams;
  to_v: LinearParams;
  to_out: LinearParams;
  norm_q: { weight: Tensor };
  norm_k: { weight: Tensor };
};

/** A block under its official names; `to_gate_compress` exists with the gate, `self_attn_residual_norm` and `attn2` with text. */
export type WanBlockParams = WanAttentionParams & {
  /** [1, 6, C]. */
  scale_shift_table: Tensor;
  ffn: { fc_in: LinearParams; fc_out: LinearParams };
  to_gate_compress?: LinearParams;
  self_attn_residual_norm?: { norm: { weight: Tensor; bias: Tensor } };
  attn2?: WanAttentionParams;
};

/** Queries and keys, normalized and turned by their positions, values, and the gate of the coarse stage, all [B, K, T, d]. */
export type SelfAttentionInputs = { q: Tensor; k: Tensor; v: Tensor; gate?: Tensor };

/** Self-attention between the tokens of a video -> [B, K, T, d]. */
export type VideoMixer = (inputs: SelfAttentionInputs) => Tensor;

/** Sizes that a block needs besides its parameters. */
export type BlockSizes = { heads: number; eps: number };

/**
 * q, k, v and gate of a normalized and modulated input n [B, T, C]. The gate is linear in n, like the others, without norm or positions.
 */
export function selfAttentionInputs(p: WanBlockParams, n: Tensor, rotary: RotaryTables, { heads, eps }: BlockSizes): SelfAttentionInputs {
  const split = (layer: LinearParams): Tensor => splitHeads(linear(layer, n), heads);
  return {
    q: rotatePairs(splitHeads(rmsNorm(linear(p.to_q, n), { eps, weight: p.norm_q.weight }), heads), rotary.cos, rotary.sin),
    k: rotatePairs(splitHeads(rmsNorm(linear(p.to_k, n), { eps, weight: p.norm_k.weight }), heads), rotary.cos, rotary.sin),
    v: split(p.to_v),
    ...(p.to_gate_compress && { gate: split(p.to_gate_compress) }),
  };
}

/** The input of self-attention: LN(x)·(1 + scale) + shift with the first two of the six vectors. x [B, T, C], modulation [B, 6, C]. */
export function blockNorm(p: WanBlockParams, x: Tensor, modulation: Tensor, eps: number): Tensor {
  const [shift, scale] = vectorsOf(p, modulation);
  return modulate(layerNorm(x, { eps }), shift!, scale!);
}

/**
 * A block of Wan2.1: x [B, T, C], modulation [B, 6, C] from the time, text [B, S, C] if the block has cross-attention -> [B, T, C].
 *
 * x += g₁⊙W_o·VSA(n); x += CrossAttention(LN(x), text), without a gate; x += g₂⊙FFN(LN(x)·(1 + s₂) + h₂) (FastVideo wanvideo.py:437).
 */
export function wanBlock(
  p: WanBlockParams,
  x: Tensor,
  { modulation, text }: { modulation: Tensor; text?: Tensor | undefined },
  rotary: RotaryTables,
  mix: VideoMixer,
  sizes: BlockSizes,
): Tensor {
  const { B, C } = dims<'B' | 'C'>(x, 'B T C', 'wanBlock: x');
  dims(modulation, 'B six C', 'wanBlock: modulation', { B, six: 6, C });
  const { eps } = sizes;
  const [, , gate1, shift2, scale2, gate2] = vectorsOf(p, modulation);
  const inputs = selfAttentionInputs(p, blockNorm(p, x, modulation, eps), rotary, sizes);
  let out = tf.add(x, tf.mul(linear(p.to_out, mergeHeads(mix(inputs))), gate1!));
  if ((p.attn2 === undefined) !== (text === undefined))
    throw new Error(
      `wanBlock: text: wanted ${p.attn2 ? 'text [B, S, C]' : 'none in a block without cross-attention'}, got ${text ? 'some' : 'none'}`,
    );
  if (text !== undefined)
    out = tf.add(out, crossAttention(p.attn2!, layerNorm(out, { eps, ...p.self_attn_residual_norm!.norm }), text, sizes));
  const hidden = gelu(linear(p.ffn.fc_in, modulate(layerNorm(out, { eps }), shift2!, scale2!)), 'tanh');
  return tf.add(out, tf.mul(linear(p.ffn.fc_out, hidden), gate2!));
}

/** Dense attention of video tokens x [B, T, C] to text [B, S, C]; norms, but no positions. */
function crossAttention(p: WanAttentionParams, x: Tensor, text: Tensor, { heads, eps }: BlockSizes): Tensor {
  const q = splitHeads(rmsNorm(linear(p.to_q, x), { eps, weight: p.norm_q.weight }), heads);
  const k = splitHeads(rmsNorm(linear(p.to_k, text), { eps, weight: p.norm_k.weight }), heads);
  const v = splitHeads(linear(p.to_v, text), heads);
  return linear(p.to_out, mergeHeads(attention(q, k, v)));
}

/** Shift, scale and gate of attention and FFN, six vectors [B, 1, C]. */
const vectorsOf = (p: WanBlockParams, modulation: Tensor): Tensor[] => tf.split(tf.add(p.scale_shift_table, modulation), 6, 1);
