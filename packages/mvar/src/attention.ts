import { linear, mergeHeads, sliceAttention, splitHeads, takeSpans, type AttentionSlice, type LinearParams, type Span } from '@atelier/nn';
import { closedForm, sumLast, dims, tf, type Tensor } from '@atelier/tensor';
import { firstSeen, hasWindow, type MvarConfig } from './config.ts';
import { checkRange, scalesOf, type Scale, type ScaleRange } from './ladder.ts';
import { neighborhoodAttention } from './neighborhood.ts';

/**
 * Parameters of attention, by official names. The rows of `mat_qkv` [3C, C] are q, then k, then v, each head by head; keys have no bias. `scale_mul_1H11`
 * [1, h, 1, 1] holds θ, the logarithm of the factor of each head; it exists only if queries and keys are normalized (`l2Norm`).
 */
export type MvarAttentionParams = {
  mat_qkv: { weight: Tensor };
  q_bias: Tensor;
  v_bias: Tensor;
  scale_mul_1H11?: Tensor;
  proj: LinearParams;
};

/** Keys and values [B, h, m, d] of the m tokens of some scales. */
export type KeyValues = { k: Tensor; v: Tensor };

/** Upper limit of θ: the factor of the logits is at most 100. */
export const MAX_SCALE = Math.log(100);
/** Without normalization, the logits are multiplied by this and by 1/√d, as in the official code. */
const PLAIN_SCALE = 0.25;

/**
 * Queries, keys and values [B, h, n, d] of x [B, n, C], and the factor `scale` of the logits. If `scale_mul_1H11` exists: queries q/‖q‖·exp(min(θ, ln
 * 100)), keys k/‖k‖, and `scale` 1. The factor is in the queries, so cached keys need no further change. Otherwise: q and k as they are, and `scale`
 * 0.25/√d.
 */
export function projections(p: MvarAttentionParams, x: Tensor, heads: number): { q: Tensor; k: Tensor; v: Tensor; scale: number } {
  const { C } = dims<'C'>(x, 'B n C', 'mvar attention: x');
  dims(p.mat_qkv.weight, 'rows C', 'mvar attention: mat_qkv.weight', { rows: 3 * C, C });
  const [wq, wk, wv] = tf.split(p.mat_qkv.weight, 3, 0) as [Tensor, Tensor, Tensor];
  const q = splitHeads(linear({ weight: wq, bias: p.q_bias }, x), heads); // -> [B, h, n, d]
  const k = splitHeads(linear({ weight: wk }, x), heads);
  const v = splitHeads(linear({ weight: wv, bias: p.v_bias }, x), heads);
  if (p.scale_mul_1H11 === undefined) return { q, k, v, scale: PLAIN_SCALE / Math.sqrt(C / heads) };
  dims(p.scale_mul_1H11, '1 h 1 1', 'mvar attention: scale_mul_1H11', { h: heads });
  const factor = tf.exp(tf.minimum(p.scale_mul_1H11, MAX_SCALE));
  return { q: tf.mul(unit(q), factor), k: unit(k), v, scale: 1 };
}

/** y = x/max(‖x‖, 1e-12) over the last axis, with its derivative in closed form: the Jacobian is (I - yyᵀ)/‖x‖. */
function unit(x: Tensor): Tensor {
  const inverse = (input: Tensor): Tensor => tf.rsqrt(tf.maximum(tf.sum(tf.square(input), -1, true), 1e-24));
  return closedForm(
    x,
    (input) => tf.mul(input, inverse(input)),
    (dy, input) => {
      const scale = inverse(input);
      const y = tf.mul(input, scale);
      return tf.mul(scale, tf.sub(dy, tf.mul(y, sumLast(tf.mul(y, dy)))));
    },
  );
}

/**
 * Attention of the tokens of a range of scales, by the rules of the settings: a token sees all tokens of the last w scales, or only the k × k window around it
 * in its own scale. Queries q [B, h, n, d] belong to the range; keys and values may begin earlier, at scale `from`. -> [B, h, n, d]
 *
 * Each scale is computed separately, with only the keys that it sees. So there is no mask, and no score is computed for a pair that does not see each other.
 */
export function attendScales(
  q: Tensor,
  { k, v }: KeyValues,
  { range, from, scale }: { range: ScaleRange; from: number; scale: number },
  config: MvarConfig,
): Tensor {
  const scales = scalesOf(config.ladder, 'attendScales');
  checkRange(range, scales.length, 'attendScales');
  const own = scales.slice(range.first, range.end);
  const [firstQuery, firstKey] = [scales[range.first]!.offset, scales[from]!.offset];
  const queriesOf = ({ offset, tokens }: Scale): Span => [offset - firstQuery, offset + tokens - firstQuery];
  const keysOf = ({ index: l, offset, tokens }: Scale): Span => [
    scales[Math.max(from, firstSeen(l, config))]!.offset - firstKey,
    offset + tokens - firstKey,
  ];
  // Scales with windows are the last ones of the ladder, so the results below are in the order of the scales.
  const [whole, windowed] = [own.filter(({ index }) => !hasWindow(config, index)), own.filter(({ index }) => hasWindow(config, index))];
  const parts = windowed.map((one) => {
    const keys = [keysOf(one)];
    const area = { H: one.side, W: one.side, kernel: config.kernelSize };
    return neighborhoodAttention(takeSpans(q, [queriesOf(one)]), takeSpans(k, keys), takeSpans(v, keys), area, { scale });
  });
  if (whole.length > 0) {
    const slices = whole.map((one): AttentionSlice => ({ queries: queriesOf(one), keys: keysOf(one), kind: 'full' }));
    parts.unshift(sliceAttention(takeSpans(q, [[0, slices.at(-1)!.queries[1]]]), k, v, slices, { scale }));
  }
  return join(parts);
}

const join = (xs: readonly Tensor[]): Tensor => (xs.length === 1 ? xs[0]! : tf.concat([...xs], 2));

/**
 * The whole attention layer on x [B, n, C], the tokens of a range of scales -> `out` [B, n, C], and `own`, the keys and values of these tokens.
 *
 * @param past cached keys and values of earlier scales, one entry for each scale from scale `from` on; without it tokens see only the range
 */
export function mvarAttention(
  p: MvarAttentionParams,
  x: Tensor,
  { range, past }: { range: ScaleRange; past?: { maps: readonly KeyValues[]; from: number } },
  config: MvarConfig,
): { out: Tensor; own: KeyValues } {
  const { q, k, v, scale } = projections(p, x, config.heads);
  const own = { k, v };
  const maps = [...(past?.maps ?? []), own];
  const seen = { k: join(maps.map((map) => map.k)), v: join(maps.map((map) => map.v)) };
  const mixed = attendScales(q, seen, { range, from: past?.from ?? range.first, scale }, config);
  return { out: linear(p.proj, mergeHeads(mixed)), own };
}
