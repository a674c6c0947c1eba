import { attention } from '@atelier/nn';
import { customGradient, dims, scan, sumLast, tf, type Tensor } from '@atelier/tensor';
import { sumOfPairs, transposeLists } from './tile-lists.ts';
import { realSlots } from './tile.ts';

/**
 * The fine stage: exact attention of the tokens of each query tile to the tokens of its selected key tiles.
 *
 * A few query tiles are computed at a time, in a loop that is one operator of the graph: their key and value tiles are gathered, multiplied, and the
 * logits of this group of tiles stay in cache. There is never a tensor of T × T, nor are weights kept.
 *
 * With P = softmax(τ·QKᵀ) and O = PV, given dO: dV = PᵀdO, dS = P∘(dO·Vᵀ - δ), δ = rowsum(dO∘O), dQ = τ·dS·K and dK = τ·dSᵀQ. The backward pass is one such
 * loop, which computes P again. It gives dQ, and what each pair of a query tile and a key tile adds to dK and dV. These are then added up for each key
 * tile, with the lists the other way round. Nothing is written twice, so the sums are the same at every run.
 */

/** Bytes of logits that are computed at a time. */
const LOGIT_BYTES = 2 << 20;

/** Bytes of the pairs' parts of dK and dV that are held at a time. If one head alone has more, they are those of one head. */
const PAIR_BYTES = 64 << 20;

/** Added to the logit of a slot without a token: its weight is exactly 0. */
const NOTHING = -1e30;

/** Queries in tiles q [B, K, n, E, d], keys k [B, K, m, E, d] and values v [B, K, m, E, e]. */
type Tiles = { q: Tensor; k: Tensor; v: Tensor };

/**
 * If all tiles are selected it is dense attention, which is then faster.
 *
 * @param lists key tiles of each query tile, [B, K, n, keep] int32, all different in a list
 * @param sizes [m] real tokens of each key tile; they lie at its front
 * @returns [B, K, n, E, e]
 * @throws Error if shapes do not fit
 */
export function fineStage(q: Tensor, k: Tensor, v: Tensor, lists: Tensor, sizes: Int32Array): Tensor {
  const { B, K, n, E, d } = dims<'B' | 'K' | 'n' | 'E' | 'd'>(q, 'B K n E d', 'fineStage: q');
  const { m } = dims<'m'>(k, 'B K m E d', 'fineStage: k', { B, K, E, d });
  const { e } = dims<'e'>(v, 'B K m E e', 'fineStage: v', { B, K, m, E });
  const { keep } = dims<'keep'>(lists, 'B K n keep', 'fineStage: lists', { B, K, n });
  if (lists.dtype !== 'int32') throw new Error(`fineStage: lists: wanted int32 tiles, got ${lists.dtype}`);
  if (sizes.length !== m || sizes.some((size) => size < 1 || size > E))
    throw new Error(`fineStage: sizes: wanted ${m} numbers of tokens from 1 to ${E}, got [${sizes.join(', ')}]`);
  if (keep === m) {
    const out = attention(tf.reshape(q, [B, K, n * E, d]), realSlots(k, sizes), realSlots(v, sizes));
    return tf.reshape(out, [B, K, n, E, e]);
  }
  return customGradient([q, k, v], (queries, keys, values) => {
    const value = attendTiles({ q: queries, k: keys, v: values }, lists, sizes);
    return {
      value,
      kept: [queries, keys, values, value, lists],
      pullback: (dO, Q, K_, V, O, chosen) => fineGradients({ q: Q, k: K_, v: V }, { O, dO }, chosen, sizes),
    };
  });
}

function attendTiles({ q, k, v }: Tiles, lists: Tensor, sizes: Int32Array): Tensor {
  const [B, K, n, E, d] = q.shape as [number, number, number, number, number];
  const [m, keep, e] = [k.shape[2]!, lists.shape[3]!, v.shape[4]!];
  const masked = maskedProduct(q, k, sizes);
  const [keys, values] = [table(masked.k), table(v)];
  const g = groupSize(B * K * n, 4 * E * keep * E, LOGIT_BYTES);
  const { collected } = scan(
    (_, { rows, chosen }) => {
      const logits = tf.mul(tf.matMul(rows!, picked(keys, chosen!, E), false, true), d ** -0.5); // -> [g, E, keep·E]
      return { carry: {}, collect: tf.matMul(tf.softmax(logits), picked(values, chosen!, E)) };
    },
    {},
    { rows: inGroups(masked.q, g), chosen: inGroups(globalLists(lists, m), g) },
  );
  return tf.reshape(collected, [B, K, n, E, e]);
}

type Gradients = [dq: Tensor, dk: Tensor, dv: Tensor];

/** [dQ, dK, dV], for as many heads at a time as `pairBytes` allow. */
export function fineGradients(
  { q, k, v }: Tiles,
  { O, dO }: { O: Tensor; dO: Tensor },
  lists: Tensor,
  sizes: Int32Array,
  pairBytes = PAIR_BYTES,
): Gradients {
  const [B, K, n, E, d] = q.shape as [number, number, number, number, number];
  const H = groupSize(B * K, 4 * n * lists.shape[3]! * E * (d + v.shape[4]!), pairBytes);
  const inputs = [q, k, v, O, dO, lists];
  const ofHeads = (parts: Tensor[]): Gradients => {
    const [qs, ks, vs, Os, dOs, chosen] = parts as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
    return gradientsOfHeads({ q: qs, k: ks, v: vs }, { O: Os, dO: dOs }, chosen, sizes);
  };
  if (H === B * K) return ofHeads(inputs);
  const { collected } = scan(
    (_, parts: Tensor[]) => ({ carry: {}, collect: ofHeads(parts) }),
    {},
    inputs.map((x) => tf.reshape(x, [(B * K) / H, 1, H, ...x.shape.slice(2)])),
  );
  return collected.map((x, i) => tf.reshape(x, inputs[i]!.shape)) as Gradients;
}

function gradientsOfHeads({ q, k, v }: Tiles, { O, dO }: { O: Tensor; dO: Tensor }, lists: Tensor, sizes: Int32Array): Gradients {
  const [B, K, n, E, d] = q.shape as [number, number, number, number, number];
  const [m, keep, e] = [k.shape[2]!, lists.shape[3]!, v.shape[4]!];
  const scale = d ** -0.5;
  const masked = maskedProduct(q, k, sizes);
  const [keys, values] = [table(masked.k), table(withOnes(v))];
  const plainKeys = masked.k === k ? keys : table(k);
  const g = groupSize(B * K * n, 4 * E * keep * E, LOGIT_BYTES);
  const { collected } = scan(
    (_, { rows, queries, out, change, chosen }) => {
      const keysHere = picked(keys, chosen!, E); // -> [g, keep·E, d]
      const P = tf.softmax(tf.mul(tf.matMul(rows!, keysHere, false, true), scale)); // -> [g, E, keep·E]
      // [dO, -δ]·[V, 1]ᵀ = dO·Vᵀ - δ
      const lessMean = tf.concat([change!, tf.neg(sumLast(tf.mul(change!, out!)))], 2);
      const dS = tf.mul(P, tf.matMul(lessMean, picked(values, chosen!, E), false, true));
      return {
        carry: {},
        collect: {
          dq: tf.mul(tf.matMul(dS, keys === plainKeys ? keysHere : picked(plainKeys, chosen!, E)), scale),
          dk: tf.mul(tf.matMul(dS, queries!, true, false), scale), // -> [g, keep·E, d]
          dv: tf.matMul(P, change!, true, false), // -> [g, keep·E, e]
        },
      };
    },
    {},
    {
      rows: inGroups(masked.q, g),
      queries: inGroups(q, g),
      out: inGroups(O, g),
      change: inGroups(dO, g),
      chosen: inGroups(globalLists(lists, m), g),
    },
  );
  const { dq, dk, dv } = collected as { dq: Tensor; dk: Tensor; dv: Tensor };
  const transposed = transposeLists(lists, m);
  const ofKeys = (pairs: Tensor, width: number): Tensor =>
    tf.reshape(sumOfPairs(tf.reshape(pairs, [B * K * n * keep, E * width]), transposed, n), [B, K, m, E, width]);
  return [tf.reshape(dq, q.shape), ofKeys(dk, d), ofKeys(dv, e)];
}

/** Queries and keys whose product is QKᵀ, and nearly -∞ for a key slot without a token: if there is one, both get one more channel. */
function maskedProduct(q: Tensor, k: Tensor, sizes: Int32Array): { q: Tensor; k: Tensor } {
  const [B, K, m, E] = k.shape as [number, number, number, number];
  if (sizes.every((size) => size === E)) return { q, k };
  const bias = Float32Array.from({ length: m * E }, (_, slot) => (slot % E < sizes[Math.floor(slot / E)]! ? 0 : NOTHING));
  return { q: withOnes(q), k: tf.concat([k, tf.broadcastTo(tf.tensor(bias, [1, 1, m, E, 1]), [B, K, m, E, 1])], 4) };
}

const withOnes = (x: Tensor): Tensor => tf.concat([x, tf.ones([...x.shape.slice(0, 4), 1])], 4);

/** Tiles as rows of a table, [B, K, m, E, c] -> [B·K·m, E·c], from which whole tiles are gathered. */
function table(x: Tensor): Tensor {
  const [B, K, m, E, c] = x.shape as [number, number, number, number, number];
  return tf.reshape(x, [B * K * m, E * c]);
}

/** Tiles of a table, side by side: indices [g, s] -> [g, s·E, c]. */
function picked(rows: Tensor, indices: Tensor, E: number): Tensor {
  const [g, s] = indices.shape as [number, number];
  return tf.reshape(tf.gather(rows, indices), [g, s * E, rows.shape[1]! / E]);
}

/** Lists counted over all batch entries and heads: [B, K, n, keep] -> the same shape. */
function globalLists(lists: Tensor, m: number): Tensor {
  const [B, K] = lists.shape as [number, number, number, number];
  const first = tf.mul(tf.reshape(tf.range(0, B * K, 1, 'int32'), [B, K, 1, 1]), tf.scalar(m, 'int32'));
  return tf.add(lists, first);
}

/** Query tiles in groups of g: [B, K, n, …] -> [B·K·n/g, g, …]. */
function inGroups(x: Tensor, g: number): Tensor {
  const total = x.shape[0]! * x.shape[1]! * x.shape[2]!;
  return tf.reshape(x, [total / g, g, ...x.shape.slice(3)]);
}

/** How many of `total` things of `each` bytes are computed together: the largest divisor that takes at most `most` bytes, at least 1. */
function groupSize(total: number, each: number, most: number): number {
  let g = Math.max(1, Math.min(total, Math.floor(most / each)));
  while (total % g !== 0) g--;
  return g;
}
