import { linear, mergeHeads, sliceAttention, splitHeads, takeSpans, type AttentionSlice, type LinearParams, type Span } from '@atelier/nn';
import { closedForm, sumLast, dims, tf, type Tensor } from '@atelier/tensor';
import { firstSeen, hasWindow, type MvarConfig } from './config.ts';
import { checkRange, scalesOf, type Scale, type ScaleRange } from './ladder.ts';
import { neighborhoodAttention } from './neighborhood.ts';

/**
 * Attention under official names: rows of mat_qkv [3C, C] are q, k, v, each head by head; the keys have no bias. `scale_mul_1H11` [1, h, 1, 1] is the
 * logarithm of a head's factor and is there if queries and keys are normalized.
 */
export type MvarAttentionParams = {
  mat_qkv: { weight: Tensor };
  q_bias: Tensor;
  v_bias: Tensor;
  scale_mul_1H11?: Tensor;
  proj: LinearParams;
};

/** Keys and values [B, h, m, d] of the tokens of some scales. */
export type KeyValues = { k: Tensor; v: Tensor };

/** Logarithm of the highest factor of the logits. */
export const MAX_SCALE = Math.log(100);
/** Factor of the logits over 1/√d where queries and keys are not normalized. */
const PLAIN_SCALE = 0.25;

/**
 * Queries, keys and values [B, h, n, d] of x [B, n, C], and the factor of the logits. Normalized: q̂·exp(min(θ, ln 100)) and k̂, factor 1; so keys can be kept
 * between steps as they are. Else q and k as they are, factor 0.25/√d.
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

/** x/max(‖x‖, 1e-12) over the last axis. Jacobian (I - yyᵀ)/‖x‖. */
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
 * What the tokens of a range of scales attend to, by the rules of the settings: each scale all tokens of the last w scales, or its own k × k windows.
 * q [B, h, n, d] are of the range; keys and values may begin earlier, at scale `from`. -> [B, h, n, d]
 *
 * Every scale is worked on apart with just the keys that it sees, so there is neither a mask nor a score of a pair that does not see each other.
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
  // Scales with windows come last.
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
 * The whole layer: x [B, n, C] of a range of scales, which sees itself alone or what was kept of earlier scales too, one map each from scale `from` on.
 * -> [B, n, C] and the keys and values of the range
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
