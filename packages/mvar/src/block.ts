import { layerNorm, linear, mlp, modulate, silu, type LinearParams, type MlpParams } from '@atelier/nn';
import { dims, tf, type Tensor } from '@atelier/tensor';
import type { MvarAttentionParams } from './attention.ts';

/**
 * A block modulated by the class (AdaLN): `ada_lin` is its own linear layer from the class, C -> 6C; with a shared layer it has only an offset
 * `ada_gss` [1, 1, 6, C].
 */
export type MvarBlockParams = {
  attn: MvarAttentionParams;
  ffn: MlpParams;
  ada_lin?: { 1: LinearParams };
  ada_gss?: Tensor;
};

export const EPS = 1e-6;

/** γ1, γ2, s1, s2, b1, b2, each [B, 1, C]: gates, scales and shifts; 1 is for attention, 2 for the MLP. The order differs from DiT's. */
export type Modulation = [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];

/**
 * The six modulation vectors of a block.
 *
 * @param cond class embeddings [B, C]; or, with a shared layer, the output of that layer [B, 1, 6, C]
 * @param keep factors of stochastic depth for the branches of attention and MLP, [2, B]: 0 or 1/(1 - rate). The gates are multiplied by them
 */
export function modulation(p: MvarBlockParams, cond: Tensor, keep?: Tensor): Modulation {
  const six = p.ada_gss === undefined ? linear(p.ada_lin![1], silu(cond)) : tf.add(p.ada_gss, cond);
  const B = cond.shape[0]!;
  const C = p.attn.proj.bias.shape[0]!;
  const vectors = tf.split(tf.reshape(six, [B, 1, 6 * C]), 6, 2) as Modulation;
  if (keep === undefined) return vectors;
  dims(keep, '2 B', 'mvar block: keep', { B });
  const [keepAttention, keepMlp] = tf.unstack(keep).map((row) => tf.reshape(row, [B, 1, 1]));
  const [gate1, gate2, ...rest] = vectors;
  return [tf.mul(gate1, keepAttention!), tf.mul(gate2, keepMlp!), ...rest];
}

/** x ← x + γ1∘Attn((1 + s1)∘LN(x) + b1), then x ← x + γ2∘MLP((1 + s2)∘LN(x) + b2): x [B, n, C] -> [B, n, C]. `attend` is Attn. */
export function mvarBlock(p: MvarBlockParams, x: Tensor, vectors: Modulation, attend: (u: Tensor) => Tensor): Tensor {
  const [gate1, gate2, scale1, scale2, shift1, shift2] = vectors;
  const mixed = tf.add(x, tf.mul(gate1, attend(modulate(layerNorm(x, { eps: EPS }), shift1, scale1))));
  return tf.add(mixed, tf.mul(gate2, mlp(p.ffn, modulate(layerNorm(mixed, { eps: EPS }), shift2, scale2), 'gelu-tanh')));
}

/** Norm before the head: (1 + s)∘LN(x) + b, x [B, n, C], with s and b from class embeddings cond [B, C]. */
export function headNorm(p: { ada_lin: { 1: LinearParams } }, x: Tensor, cond: Tensor): Tensor {
  const { B, C } = dims<'B' | 'C'>(x, 'B n C', 'mvar head: x');
  const [scale, shift] = tf.split(tf.reshape(linear(p.ada_lin[1], silu(cond)), [B, 1, 2 * C]), 2, 2);
  return modulate(layerNorm(x, { eps: EPS }), shift!, scale!);
}
