import { checkNumber, tf, type Tensor } from '@atelier/tensor';

// A mask of attention as a list of rectangles of queries × keys, instead of one number for each pair (MagiAttention's AttnSlice,
// arXiv 2505.13211, section 3).

/** Positions begin … end - 1. */
export type Span = readonly [begin: number, end: number];

/**
 * Which keys of its rectangle a query sees. With r and s counted from the corner of the rectangle, and its height h and width w: `full` all;
 * `causal` those with s - r <= w - h, so that the last query sees all keys; `inverse-causal` those with s >= r, so that the first query sees all
 * keys; `bi-causal` those that both allow.
 */
export type SliceKind = 'full' | 'causal' | 'inverse-causal' | 'bi-causal';

/** A rectangle of a mask: some of its queries see some of its keys. */
export type AttentionSlice = { queries: Span; keys: Span; kind: SliceKind };

const KINDS: readonly SliceKind[] = ['full', 'causal', 'inverse-causal', 'bi-causal'];

/** Throws unless all slices lie inside T queries × S keys and no two rectangles have a pair in common. */
export function checkSlices(slices: readonly AttentionSlice[], T: number, S: number, where: string): void {
  slices.forEach(({ queries, keys, kind }, i) => {
    if (!KINDS.includes(kind)) throw new Error(`${where}: slice ${i}: wanted kind ${KINDS.join(', ')}, got '${String(kind)}'`);
    checkSpan(queries, T, `${where}: slice ${i}: queries`);
    checkSpan(keys, S, `${where}: slice ${i}: keys`);
  });
  for (let j = 1; j < slices.length; j++)
    for (let i = 0; i < j; i++)
      if (meet(slices[i]!.queries, slices[j]!.queries) && meet(slices[i]!.keys, slices[j]!.keys))
        throw new Error(`${where}: wanted rectangles without common pairs, got slices ${i} and ${j} that overlap`);
}

function checkSpan(span: Span, size: number, where: string): void {
  if (!Array.isArray(span) || span.length !== 2 || !span.every(Number.isInteger) || span[0]! < 0 || span[0]! >= span[1]! || span[1]! > size)
    throw new Error(`${where}: wanted 0 <= begin < end <= ${size}, got [${String(span)}]`);
}

const meet = (a: Span, b: Span): boolean => a[0] < b[1] && b[0] < a[1];

/** The keys that query row `r` of a slice sees, both counted from the corner of the rectangle. The span may be empty (begin >= end). */
function seenBy({ queries, keys, kind }: AttentionSlice, r: number): Span {
  const [height, width] = [queries[1] - queries[0], keys[1] - keys[0]];
  const begin = kind === 'inverse-causal' || kind === 'bi-causal' ? r : 0;
  const end = kind === 'causal' || kind === 'bi-causal' ? Math.min(width, width - height + r + 1) : width;
  return [begin, end];
}

/** The mask of T queries and S keys as rows of 0 and 1, [T, S]: 1 where a query sees a key. */
export function sliceMask(slices: readonly AttentionSlice[], T: number, S: number): Uint8Array {
  checkSlices(slices, T, S, 'sliceMask');
  const mask = new Uint8Array(T * S);
  for (const slice of slices)
    for (let q = slice.queries[0]; q < slice.queries[1]; q++) {
      const [begin, end] = seenBy(slice, q - slice.queries[0]);
      if (begin < end) mask.fill(1, q * S + slice.keys[0] + begin, q * S + slice.keys[0] + end);
    }
  return mask;
}

/** Number of pairs of query and key that are seen. Attention takes area·(d + e) multiply-accumulates for each head of queries. */
export function sliceArea(slices: readonly AttentionSlice[]): number {
  let area = 0;
  for (const slice of slices)
    for (let r = 0; r < slice.queries[1] - slice.queries[0]; r++) {
      const [begin, end] = seenBy(slice, r);
      area += Math.max(0, end - begin);
    }
  return area;
}

/**
 * The slices of a block-causal mask: the queries of block j see the keys of blocks j + 1 - range … j, all of them where `ranges` is not given.
 *
 * @param sizes tokens of the blocks, in order
 * @param ranges for each block, how many blocks it sees, its own among them; at least 1
 * @param offset position of the first token of the first block, among queries and among keys
 */
export function blockCausalSlices(sizes: readonly number[], ranges?: readonly number[], offset = 0): AttentionSlice[] {
  sizes.forEach((size, j) => checkNumber(`blockCausalSlices: size of block ${j}`, size, { integer: true, min: 1 }));
  if (ranges !== undefined && ranges.length !== sizes.length)
    throw new Error(`blockCausalSlices: ranges: wanted one for each of ${sizes.length} blocks, got ${ranges.length}`);
  const begins = [offset];
  for (const size of sizes) begins.push(begins.at(-1)! + size);
  return sizes.map((_, j) => {
    const range = ranges?.[j] ?? j + 1;
    checkNumber(`blockCausalSlices: range of block ${j}`, range, { integer: true, min: 1 });
    return { queries: [begins[j]!, begins[j + 1]!], keys: [begins[Math.max(0, j + 1 - range)]!, begins[j + 1]!], kind: 'full' };
  });
}

/** Attention of a span of queries to some spans of keys. Without a mask every query sees every key. */
export type SliceBlock = {
  queries: Span;
  keys: Span[];
  /** [rows, keys]: 1 where a query sees a key. */
  mask?: Uint8Array;
};

/** Largest number of rows in a block with a mask. With fewer rows, less is computed for keys that a query does not see. */
const MASKED_ROWS = 128;

/**
 * The slices as blocks of queries that need one softmax each, over exactly the keys that their queries see. Queries without keys are in no block.
 */
export function sliceBlocks(slices: readonly AttentionSlice[], T: number): SliceBlock[] {
  const cuts = new Set([0, T]);
  for (const { queries, kind } of slices) {
    cuts.add(queries[0]).add(queries[1]);
    if (kind !== 'full') for (let at = queries[0]; at < queries[1]; at += MASKED_ROWS) cuts.add(at);
  }
  const sorted = [...cuts].sort((a, b) => a - b);
  return sorted.slice(1).flatMap((end, i) => {
    const queries: Span = [sorted[i]!, end];
    const rows = slices.filter((slice) => meet(slice.queries, queries)).flatMap((slice) => ofRows(slice, queries) ?? []);
    if (rows.length === 0) return [];
    rows.sort((a, b) => a.keys[0] - b.keys[0]);
    const block: SliceBlock = { queries, keys: joined(rows.map(({ keys }) => keys)) };
    if (rows.every(({ whole }) => whole)) return [block];
    return [{ ...block, mask: maskOf(rows, queries) }];
  });
}

type Rows = { slice: AttentionSlice; keys: Span; whole: boolean };

/** The keys that any of these queries sees in a slice, and whether all of the queries see all of them. */
function ofRows(slice: AttentionSlice, queries: Span): Rows | undefined {
  const spans = Array.from({ length: queries[1] - queries[0] }, (_, i) => seenBy(slice, queries[0] - slice.queries[0] + i));
  const seen = spans.filter(([begin, end]) => begin < end);
  if (seen.length === 0) return undefined;
  const begin = Math.min(...seen.map((span) => span[0]));
  const end = Math.max(...seen.map((span) => span[1]));
  const whole = spans.every((span) => span[0] === begin && span[1] === end);
  return { slice, keys: [slice.keys[0] + begin, slice.keys[0] + end], whole };
}

function maskOf(rows: readonly Rows[], queries: Span): Uint8Array {
  const width = rows.reduce((sum, { keys }) => sum + keys[1] - keys[0], 0);
  const mask = new Uint8Array((queries[1] - queries[0]) * width);
  let column = 0;
  for (const { slice, keys } of rows) {
    for (let q = queries[0]; q < queries[1]; q++) {
      const [begin, end] = seenBy(slice, q - slice.queries[0]);
      if (begin >= end) continue;
      const row = (q - queries[0]) * width + column - keys[0] + slice.keys[0];
      mask.fill(1, row + begin, row + end);
    }
    column += keys[1] - keys[0];
  }
  return mask;
}

/** Spans in order, those that touch each other as one. */
function joined(spans: readonly Span[]): Span[] {
  const out: Span[] = [];
  for (const span of spans) {
    const last = out.at(-1);
    if (last !== undefined && last[1] === span[0]) out[out.length - 1] = [last[0], span[1]];
    else out.push(span);
  }
  return out;
}

/** Positions of the spans of axis 2, one after the other. The tensor itself if they are the whole axis. */
export function takeSpans(x: Tensor, spans: readonly Span[]): Tensor {
  const [B, K, T, d] = x.shape as [number, number, number, number];
  if (spans.length === 1 && spans[0]![0] === 0 && spans[0]![1] === T) return x;
  const parts = spans.map(([begin, end]) => tf.slice(x, [0, 0, begin, 0], [B, K, end - begin, d]));
  return parts.length === 1 ? parts[0]! : tf.concat(parts, 2);
}
