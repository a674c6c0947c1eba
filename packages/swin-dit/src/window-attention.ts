import { attention, linear, mergeHeads, splitHeads, type LinearParams, type SelfAttentionParams } from '@atelier/nn';
import { dims, tf, type Tensor } from '@atelier/tensor';
import { relativePositionBias } from './relative-position.ts';

/**
 * softmax(QKᵀ/√d + bias)·V in every window: q, k, v [N, a, n, d] -> [N, a, n, d], N windows of n tokens, a heads.
 *
 * `bias` is [a, n, n] if it is the same in all windows. If windows differ it is [g·a, n, n] and repeats after g windows, which are those of one image.
 */
export function attendInWindows(q: Tensor, k: Tensor, v: Tensor, bias: Tensor): Tensor {
  const { N, a, n } = dims<'N' | 'a' | 'n'>(q, 'N a n d', 'attendInWindows: q');
  const { rows } = dims<'rows'>(bias, 'rows n n', 'attendInWindows: bias', { n });
  if (rows % a !== 0 || (N * a) % rows !== 0)
    throw new Error(`attendInWindows: bias: wanted ${a} heads in each of some windows that divide ${N}, got ${rows} rows`);
  const fold = (x: Tensor): Tensor => tf.reshape(x, [(N * a) / rows, rows, n, x.shape[3]!]);
  return tf.reshape(attention(fold(q), fold(k), fold(v), { mask: bias }), [N, a, n, v.shape[3]!]);
}

/** The logit bias of every window and head: table bias [a, n, n] and, if windows are shifted, mask [g, n, n] -> [g·a, n, n]. */
export function maskedBias(bias: Tensor, mask?: Tensor): Tensor {
  if (mask === undefined) return bias;
  const { a, n } = dims<'a' | 'n'>(bias, 'a n n', 'maskedBias: bias');
  const { g } = dims<'g'>(mask, 'g n n', 'maskedBias: mask', { n });
  return tf.reshape(tf.add(tf.expandDims(mask, 1), bias), [g * a, n, n]); // [g, 1, n, n] + [a, n, n] -> [g·a, n, n]
}

/** Parameters of Swin's window attention under their names there, with the table of relative positions. */
export type WindowAttentionParams = SelfAttentionParams & { relative_position_bias_table: Tensor; qkv: LinearParams };

/**
 * Swin's window attention (microsoft/Swin-Transformer swin_transformer.py:77): x [N, n, D], N windows of n = rows·columns tokens -> [N, n, D].
 *
 * `mask` [g, n, n] is added to the logits of g windows, the number that an image has.
 */
export function windowAttention(
  p: WindowAttentionParams,
  x: Tensor,
  { rows, columns, heads, mask }: { rows: number; columns: number; heads: number; mask?: Tensor },
): Tensor {
  const { D } = dims<'D'>(x, 'N n D', 'windowAttention: x', { n: rows * columns });
  dims(p.qkv.weight, 'rows D', 'windowAttention: qkv.weight', { rows: 3 * D, D });
  const [q, k, v] = tf.split(linear(p.qkv, x), 3, 2).map((part) => splitHeads(part, heads)); // -> [N, a, n, D/a]
  const bias = maskedBias(relativePositionBias(p.relative_position_bias_table, rows, columns), mask);
  return linear(p.proj, mergeHeads(attendInWindows(q!, k!, v!, bias)));
}
