import { checkNumber, customGradient, dims, tf, type Tensor } from '@atelier/tensor';
import { pieceSizes } from '../layers/pieces.ts';
import { attendTile, LOGIT_BYTES, tileGradients, tileRows, visibility } from './attention.ts';
import { checkSlices, sliceBlocks, takeSpans, type AttentionSlice, type SliceBlock, type Span } from './slices.ts';

/** Attention of some queries, and the logarithm of the sum of their exponentials, by which parts can be merged. */
export type AttentionPart = {
  /** [B, K, T, e]; zeros for a query without keys. */
  out: Tensor;
  /** [B, K, T]: log Σ exp(scale·q·k); -∞ for a query without keys. */
  lse: Tensor;
};

/**
 * Attention whose mask is the union of slices: the keys of a slice are multiplied with its queries only. The work of `full` slices is just their area; other
 * slices are computed in blocks of at most 128 queries, under a mask, on all keys that a query of the block sees.
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
  const { B, K, T, S, d } = sizes;
  const found = sliceBlocks(slices, T).flatMap((block) => cutRows(block, tileRows([B, K, rowsOf(block), keyCount(block)], false)));
  // Without any block the result would not depend on its inputs, and TensorFlow.js gives no gradient then. Here it depends on them, by zeros.
  const blocks: SliceBlock[] = found.length > 0 ? found : [{ queries: [0, T], keys: [[0, S]], mask: new Uint8Array(T * S) }];
  return attendBlocks(q, k, v, blocks, sizes, scale ?? d ** -0.5);
}

/**
 * One softmax for each block; blocks of equal size are one batched product. The derivative is one function of all blocks, so that the gradients of keys, which
 * several blocks read, are summed piece by piece: the derivative of a slice that TensorFlow.js knows would fill every piece up with zeros to the length of all keys.
 */
function attendBlocks(q: Tensor, k: Tensor, v: Tensor, blocks: readonly SliceBlock[], sizes: Sizes, scale: number): Tensor {
  const { B, K, G, T, S, d, e } = sizes;
  const batches = batchesOf(blocks, B * K);
  const visible = batches.map(([block]) => visibility(maskOf(block!, K / G)));
  const stacked = (parts: Tensor[]): Tensor => (parts.length === 1 ? parts[0]! : tf.concat(parts, 0));
  const apart = (x: Tensor, batch: readonly SliceBlock[]): Tensor[] => (batch.length === 1 ? [x] : tf.split(x, batch.length, 0));
  /** The queries of blocks that share a head of keys, as longer blocks: [B, K, T, c] -> [b·B, G, (K/G)·n, c]. */
  const queriesOf = (x: Tensor, batch: readonly SliceBlock[]): Tensor =>
    stacked(batch.map((block) => tf.reshape(takeSpans(x, [block.queries]), [B, G, (K / G) * rowsOf(block), x.shape[3]!])));
  /** And back: [b·B, G, (K/G)·n, c] -> b times [B, K, n, c]. */
  const perBlock = (x: Tensor, batch: readonly SliceBlock[]): Tensor[] =>
    apart(x, batch).map((part) => tf.reshape(part, [B, K, rowsOf(batch[0]!), x.shape[3]!]));
  const keysOf = (x: Tensor, batch: readonly SliceBlock[]): Tensor => stacked(batch.map(({ keys }) => takeSpans(x, keys)));
  const zeros = (width: number) => (rows: number) => tf.zeros([B, K, rows, width]);
  return customGradient([q, k, v], (Q, KEYS, V) => {
    const outs = batches.flatMap((batch, i) =>
      perBlock(attendTile(queriesOf(Q, batch), keysOf(KEYS, batch), keysOf(V, batch), scale, visible[i]!), batch),
    );
    return {
      value: alongQueries(blocks, T, outs, zeros(e)),
      kept: [Q, KEYS, V, ...visible.flatMap(({ ceiling, sees }) => (ceiling && sees ? [ceiling, sees] : []))],
      pullback: (dy, ...kept) => {
        const [queries, keys, values, ...masks] = kept as [Tensor, Tensor, Tensor, ...Tensor[]];
        let next = 0;
        const parts = batches.flatMap((batch) => {
          const seen = batch[0]!.mask ? { ceiling: masks[next++]!, sees: masks[next++]! } : {};
          const inputs = [queriesOf(dy, batch), queriesOf(queries, batch), keysOf(keys, batch), keysOf(values, batch)] as const;
          const { dq, dk, dv } = tileGradients(...inputs, scale, seen);
          const [dks, dvs] = [apart(dk, batch), apart(dv, batch)];
          return perBlock(dq, batch).map((ofQueries, i) => ({ dq: ofQueries, dk: dks[i]!, dv: dvs[i]! }));
        });
        const ofKeys = (name: 'dk' | 'dv', width: number): Tensor =>
          sumSpans(blocks.map(({ keys: spans }, i) => ({ spans, x: parts[i]![name] })), [B, G, S, width]); // prettier-ignore
        return [alongQueries(blocks, T, parts.map(({ dq }) => dq), zeros(d)), ofKeys('dk', d), ofKeys('dv', e)]; // prettier-ignore
      },
    };
  });
}

const rowsOf = ({ queries }: SliceBlock): number => queries[1] - queries[0];
const keyCount = ({ keys }: SliceBlock): number => keys.reduce((sum, [begin, end]) => sum + end - begin, 0);

/** A block as several with at most so many queries. */
function cutRows(block: SliceBlock, rows: number): SliceBlock[] {
  const sizes = pieceSizes(rowsOf(block), Math.ceil(rowsOf(block) / rows));
  const width = keyCount(block);
  let end = 0;
  return sizes.map((size) => {
    const begin = end;
    end += size;
    const [first] = block.queries;
    const mask = block.mask?.slice(begin * width, end * width);
    return { queries: [first + begin, first + end], keys: block.keys, ...(mask && { mask }) };
  });
}

/** Neighbouring blocks without masks that have as many queries and as many keys, as batches whose logits are not too large. @param heads samples times heads of queries */
function batchesOf(blocks: readonly SliceBlock[], heads: number): SliceBlock[][] {
  const batches: SliceBlock[][] = [];
  for (const block of blocks) {
    const batch = batches.at(-1);
    const first = batch?.[0];
    const alike = first && !first.mask && !block.mask && rowsOf(first) === rowsOf(block) && keyCount(first) === keyCount(block);
    if (alike && 4 * heads * (batch!.length + 1) * rowsOf(block) * keyCount(block) <= LOGIT_BYTES) batch!.push(block);
    else batches.push([block]);
  }
  return batches;
}

/** Sums tensors over spans of axis 2 at their places, [B, G, S, c]: the inverse of `takeSpans`. Places without a span are 0. */
function sumSpans(parts: readonly { spans: readonly Span[]; x: Tensor }[], shape: readonly [number, number, number, number]): Tensor {
  const [B, G, S, c] = shape;
  const cuts = [...new Set([0, S, ...parts.flatMap(({ spans }) => spans.flat())])].sort((a, b) => a - b);
  const sums = new Map<number, Tensor>();
  for (const { spans, x } of parts) {
    const starts = cuts.filter((at) => spans.some(([begin, end]) => at >= begin && at < end));
    const lengths = starts.map((at) => cuts[cuts.indexOf(at) + 1]! - at);
    const pieces = starts.length === 1 ? [x] : tf.split(x, lengths, 2);
    starts.forEach((at, i) => sums.set(at, sums.has(at) ? tf.add(sums.get(at)!, pieces[i]!) : pieces[i]!));
  }
  const whole = cuts.slice(0, -1).map((at, i) => sums.get(at) ?? tf.zeros([B, G, cuts[i + 1]! - at, c]));
  return whole.length === 1 ? whole[0]! : tf.concat(whole, 2);
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
  const { B, K, G, T, d } = sizes;
  const blocks = sliceBlocks(slices, T);
  const sums = blocks.map((block) => {
    const queries = tf.reshape(takeSpans(q, [block.queries]), [B, G, (K / G) * rowsOf(block), d]);
    const mask = maskOf(block, K / G);
    const logits = tf.mul(tf.matMul(queries, takeSpans(k, block.keys), false, true), scale ?? d ** -0.5);
    return tf.reshape(tf.logSumExp(mask === undefined ? logits : tf.where(mask, logits, -Infinity), -1), [B, K, rowsOf(block)]);
  });
  const lse = alongQueries(blocks, T, sums, (rows) => tf.fill([B, K, rows], -Infinity));
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
function alongQueries(blocks: readonly SliceBlock[], T: number, results: readonly Tensor[], empty: (rows: number) => Tensor): Tensor {
  const parts: Tensor[] = [];
  let done = 0;
  const until = (at: number): void => {
    if (at > done) parts.push(empty(at - done));
    done = at;
  };
  for (const [i, { queries }] of blocks.entries()) {
    until(queries[0]);
    parts.push(results[i]!);
    done = queries[1];
  }
  until(T);
  return parts.length === 1 ? parts[0]! : tf.concat(parts, 2);
}

/** The mask of a block for `group` heads one after the other, [group·rows, keys]. */
function maskOf(block: SliceBlock, group: number): Tensor | undefined {
  const { mask } = block;
  if (mask === undefined) return undefined;
  const rows = rowsOf(block);
  const repeated = new Uint8Array(group * mask.length);
  for (let i = 0; i < group; i++) repeated.set(mask, i * mask.length);
  return tf.tensor2d(repeated, [group * rows, mask.length / rows], 'bool');
}
