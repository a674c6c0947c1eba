import { checkNumber, dims, tf, type Tensor } from '@atelier/tensor';
import { attention } from './attention.ts';
import { checkSlices, sliceBlocks, takeSpans, type AttentionSlice, type SliceBlock } from './slices.ts';

/** Attention of some queries, and the logarithm of the sum of their exponentials, by which parts can be merged. */
export type AttentionPart = {
  /** [B, K, T, e]; zeros for a query without keys. */
  out: Tensor;
  /** [B, K, T]: log Σ exp(scale·q·k); -∞ for a query without keys. */
  lse: Tensor;
};

/**
 * Attention whose mask is the union of slices: only the keys of a slice are multiplied with its queries, so the work is the area of the slices.
 * q [B, K, T, d], k [B, G, S, d], v [B, G, S, e] -> [B, K, T, e]. With fewer heads of keys than of queries (grouped queries), query head h uses head
 * ⌊h·G/K⌋. A query that no slice covers gives zeros and has zero gradients. If several slices cover a query, one softmax goes over all of their keys.
 *
 * @param scale the logits are multiplied by it; 1/√d if absent
 * @throws Error if shapes do not fit, a slice lies outside, or two slices overlap
 */
export function sliceAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  slices: readonly AttentionSlice[],
  { scale }: { scale?: number } = {},
): Tensor {
  const sizes = sizesOf(q, k, v, slices, 'sliceAttention');
  const { T, S, e, B, K } = sizes;
  const blocks = sliceBlocks(slices, T);
  // Without any block the result would not depend on its inputs, and TensorFlow.js gives no gradient then. Here it depends on them, by zeros.
  if (blocks.length === 0) return attendBlock(q, k, v, { queries: [0, T], keys: [[0, S]], mask: new Uint8Array(T * S) }, sizes, scale);
  return alongQueries(
    blocks,
    T,
    (block) => attendBlock(q, k, v, block, sizes, scale),
    (rows) => tf.zeros([B, K, rows, e]),
  );
}

/** `sliceAttention` together with the log-sum-exp of every query, for `mergeAttention`. */
export function sliceAttentionPart(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  slices: readonly AttentionSlice[],
  { scale }: { scale?: number } = {},
): AttentionPart {
  const sizes = sizesOf(q, k, v, slices, 'sliceAttentionPart');
  const { B, K, T, d } = sizes;
  const lse = alongQueries(
    sliceBlocks(slices, T),
    T,
    (block) => {
      const rows = block.queries[1] - block.queries[0];
      const { queries, mask } = grouped(q, block, sizes);
      const logits = tf.mul(tf.matMul(queries, takeSpans(k, block.keys), false, true), scale ?? d ** -0.5);
      return tf.reshape(tf.logSumExp(mask === undefined ? logits : tf.where(mask, logits, -Infinity), -1), [B, K, rows]);
    },
    (rows) => tf.fill([B, K, rows], -Infinity),
  );
  return { out: sliceAttention(q, k, v, slices, scale === undefined ? {} : { scale }), lse };
}

/**
 * Attention over the union of disjoint sets of keys, from the attention over each set: lse = log Σ_i exp(lse_i), out = Σ_i exp(lse_i - lse)·out_i.
 * The result is exact whatever the parts are. @throws Error if the shapes differ or there is no part
 */
export function mergeAttention(parts: readonly AttentionPart[]): AttentionPart {
  if (parts.length === 0) throw new Error('mergeAttention: wanted at least one part, got none');
  const { B, K, T, e } = dims<'B' | 'K' | 'T' | 'e'>(parts[0]!.out, 'B K T e', 'mergeAttention: out of part 0');
  parts.forEach(({ out, lse }, i) => {
    dims(out, 'B K T e', `mergeAttention: out of part ${i}`, { B, K, T, e });
    dims(lse, 'B K T', `mergeAttention: lse of part ${i}`, { B, K, T });
  });
  const all = tf.stack(
    parts.map(({ lse }) => lse),
    0,
  ); // -> [parts, B, K, T]
  const lse: Tensor = tf.logSumExp(all, 0);
  // A query without keys in any part has weights 0, not exp(-∞ + ∞).
  const shift = tf.where(tf.equal(lse, -Infinity), 0, lse);
  const weights = tf.unstack(tf.exp(tf.sub(all, shift)), 0);
  const out = parts.map((part, i) => tf.mul(part.out, tf.reshape(weights[i]!, [B, K, T, 1]))).reduce((a, b) => tf.add(a, b));
  return { out, lse };
}

type Sizes = Record<'B' | 'K' | 'G' | 'T' | 'S' | 'd' | 'e', number>;

function sizesOf(q: Tensor, k: Tensor, v: Tensor, slices: readonly AttentionSlice[], where: string): Sizes {
  const { B, K, T, d } = dims<'B' | 'K' | 'T' | 'd'>(q, 'B K T d', `${where}: q`);
  const { G, S } = dims<'G' | 'S'>(k, 'B G S d', `${where}: k`, { B, d });
  const { e } = dims<'e'>(v, 'B G S e', `${where}: v`, { B, G, S });
  checkNumber(`${where}: heads of k`, G, { integer: true, min: 1 });
  if (K % G !== 0) throw new Error(`${where}: k: wanted a number of heads that divides the ${K} of q, got ${G}`);
  checkSlices(slices, T, S, where);
  return { B, K, G, T, S, d, e };
}

/** Results of the blocks in the order of the queries, with something else for queries that are in no block. */
function alongQueries(
  blocks: readonly SliceBlock[],
  T: number,
  of: (block: SliceBlock) => Tensor,
  empty: (rows: number) => Tensor,
): Tensor {
  const parts: Tensor[] = [];
  let done = 0;
  const until = (at: number): void => {
    if (at > done) parts.push(empty(at - done));
    done = at;
  };
  for (const block of blocks) {
    until(block.queries[0]);
    parts.push(of(block));
    done = block.queries[1];
  }
  until(T);
  return parts.length === 1 ? parts[0]! : tf.concat(parts, 2);
}

function attendBlock(q: Tensor, k: Tensor, v: Tensor, block: SliceBlock, sizes: Sizes, scale: number | undefined): Tensor {
  const { B, K, e } = sizes;
  const { queries, mask } = grouped(q, block, sizes);
  const out = attention(queries, takeSpans(k, block.keys), takeSpans(v, block.keys), {
    ...(mask && { mask }),
    ...(scale !== undefined && { scale }),
  });
  return tf.reshape(out, [B, K, block.queries[1] - block.queries[0], e]); // [B, G, (K/G)·n, e] -> [B, K, n, e]
}

/** The queries of a block that share a head of keys, as one longer block: [B, K, n, d] -> [B, G, (K/G)·n, d], and their mask. */
function grouped(q: Tensor, block: SliceBlock, { B, K, G, d }: Sizes): { queries: Tensor; mask: Tensor | undefined } {
  const rows = block.queries[1] - block.queries[0];
  const group = K / G;
  const queries = tf.reshape(takeSpans(q, [block.queries]), [B, G, group * rows, d]);
  if (block.mask === undefined) return { queries, mask: undefined };
  const width = block.mask.length / rows;
  const repeated = new Uint8Array(group * block.mask.length);
  for (let i = 0; i < group; i++) repeated.set(block.mask, i * block.mask.length);
  return { queries, mask: tf.tensor2d(repeated, [group * rows, width], 'bool') };
}
