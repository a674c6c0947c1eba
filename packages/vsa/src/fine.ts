import { customGradient, dims, runFused, scan, sumLast, tf, type Tensor } from '@atelier/tensor';
import { transposeLists, unitSize } from './tile-lists.ts';

/**
 * The fine stage: exact attention of the tokens of each query tile to the tokens of its selected key tiles.
 *
 * A few query tiles are computed at a time, in a loop that is one operator of the graph: their key and value tiles are gathered, multiplied, and the
 * logits of this group of tiles stay in cache. There is never a tensor of T × T, nor of T × keep·E.
 *
 * With P = softmax(τ·QKᵀ) and O = PV, given dO: dV = PᵀdO, dS = P∘(dO·Vᵀ - δ), δ = rowsum(dO∘O), dQ = τ·dS·K and dK = τ·dSᵀQ. The backward pass has two
 * such loops, which compute P again: one over query tiles, with the lists as they are, for dQ; one over key tiles, with the transposed lists, for dK and dV.
 * There P = exp(τ·QKᵀ - ℓ) with the ℓ that the first loop has found.
 */

/** Bytes of logits that are computed at a time. */
const LOGIT_BYTES = 2 << 20;

/** Units of the transposed lists that are computed together at most: their sums cost the square of it. */
const UNITS_TOGETHER = 64;

/** Added to the logit of a slot without a token: its weight is exactly 0. */
const NOTHING = -1e30;

/** Queries in tiles q [B, K, n, E, d], keys k [B, K, m, E, d] and values v [B, K, m, E, e]. */
type Tiles = { q: Tensor; k: Tensor; v: Tensor };

/**
 * @param lists key tiles of each query tile, [B, K, n, keep] int32
 * @param sizes [m] real tokens of each key tile; they lie at its front
 * @returns [B, K, n, E, e]
 * @throws Error if shapes do not fit
 */
export function fineStage(q: Tensor, k: Tensor, v: Tensor, lists: Tensor, sizes: Int32Array): Tensor {
  const { B, K, n, E, d } = dims<'B' | 'K' | 'n' | 'E' | 'd'>(q, 'B K n E d', 'fineStage: q');
  const { m } = dims<'m'>(k, 'B K m E d', 'fineStage: k', { B, K, E, d });
  dims(v, 'B K m E e', 'fineStage: v', { B, K, m, E });
  dims(lists, 'B K n keep', 'fineStage: lists', { B, K, n });
  if (lists.dtype !== 'int32') throw new Error(`fineStage: lists: wanted int32 tiles, got ${lists.dtype}`);
  if (sizes.length !== m || sizes.some((size) => size < 1 || size > E))
    throw new Error(`fineStage: sizes: wanted ${m} numbers of tokens from 1 to ${E}, got [${sizes.join(', ')}]`);
  return customGradient([q, k, v], (queries, keys, values) => {
    const value = attendTiles({ q: queries, k: keys, v: values }, lists, sizes);
    return {
      value,
      kept: [queries, keys, values, value, lists],
      pullback: (dO, Q, K_, V, O, chosen) => {
        const delta = sumLast(tf.mul(dO, O)); // -> [B, K, n, E, 1]
        const rows = backwardOfQueries({ q: Q, k: K_, v: V }, dO, delta, chosen, sizes);
        const columns = backwardOfKeys({ q: Q, k: K_, v: V }, dO, delta, rows.logSumExp, chosen, sizes);
        return [rows.dq, columns.dk, columns.dv];
      },
    };
  });
}

function attendTiles({ q, k, v }: Tiles, lists: Tensor, sizes: Int32Array): Tensor {
  const [B, K, n, E, d] = q.shape as [number, number, number, number, number];
  const [keep, e] = [lists.shape[3]!, v.shape[4]!];
  const keys = keyTable(k, sizes);
  const values = table(v);
  const g = groupSize(B * K * n, E * keep * E);
  const { collected } = scan(
    (_, { rows, chosen }) => {
      const logits = tf.matMul(rows!, picked(keys, chosen!, E), false, true); // -> [g, E, keep·E]
      return { carry: {}, collect: tf.matMul(tf.softmax(tf.mul(logits, d ** -0.5)), picked(values, chosen!, E)) };
    },
    {},
    { rows: inGroups(withOnes(q, sizes, E), g), chosen: inGroups(globalLists(lists, k.shape[2]!), g) },
  );
  return tf.reshape(collected, [B, K, n, E, e]);
}

/** dQ, and ℓ = log Σ exp(τ·QKᵀ) of each query [B, K, n, E, 1]. */
function backwardOfQueries(
  { q, k, v }: Tiles,
  dO: Tensor,
  delta: Tensor,
  lists: Tensor,
  sizes: Int32Array,
): { dq: Tensor; logSumExp: Tensor } {
  const [B, K, n, E, d] = q.shape as [number, number, number, number, number];
  const keep = lists.shape[3]!;
  const scale = d ** -0.5;
  const [keys, plainKeys, values] = [keyTable(k, sizes), table(k), table(withColumn(v, tf.ones([...v.shape.slice(0, 4), 1])))];
  const g = groupSize(B * K * n, E * keep * E);
  const { collected } = scan(
    (_, { rows, change, chosen }) => {
      const keysHere = picked(keys, chosen!, E);
      const logits = tf.mul(tf.matMul(rows!, keysHere, false, true), scale); // -> [g, E, keep·E]
      const P = tf.softmax(logits);
      // [dO, -δ]·[V, 1]ᵀ = dO·Vᵀ - δ
      const dS = tf.mul(P, tf.matMul(change!, picked(values, chosen!, E), false, true));
      const dq = tf.mul(tf.matMul(dS, sizes.every((size) => size === E) ? keysHere : picked(plainKeys, chosen!, E)), scale);
      // At the largest logit, P = exp(logit - ℓ).
      const logSumExp = tf.sub(rowMax(logits), tf.log(rowMax(P)));
      return { carry: {}, collect: { dq, logSumExp } };
    },
    {},
    {
      rows: inGroups(withOnes(q, sizes, E), g),
      change: inGroups(withColumn(dO, tf.neg(delta)), g),
      chosen: inGroups(globalLists(lists, k.shape[2]!), g),
    },
  );
  const { dq, logSumExp } = collected as { dq: Tensor; logSumExp: Tensor };
  return { dq: tf.reshape(dq, q.shape), logSumExp: tf.reshape(logSumExp, [B, K, n, E, 1]) };
}

/** dK and dV: loops over units of the transposed lists, and sums the units of each key tile as it goes. */
function backwardOfKeys(
  { q, k, v }: Tiles,
  dO: Tensor,
  delta: Tensor,
  logSumExp: Tensor,
  lists: Tensor,
  sizes: Int32Array,
): { dk: Tensor; dv: Tensor } {
  const [B, K, , E, d] = q.shape as [number, number, number, number, number];
  const [m, e, keep] = [k.shape[2]!, v.shape[4]!, lists.shape[3]!];
  const scale = d ** -0.5;
  const R = unitSize(keep);
  const fitting = Math.max(1, Math.floor(LOGIT_BYTES / (4 * E * R * E)));
  const transposed = transposeLists(lists, m, Math.min(fitting, UNITS_TOGETHER));
  const [U, g] = [transposed.keyTile.shape[0]!, transposed.together];
  // Row 0 is a tile without queries: its weights are exp(-1e30) = 0, and its dO is 0.
  const bare = tf.concat([tf.zeros([E, d]), tf.fill([E, 1], NOTHING), tf.ones([E, 1])], 1);
  const queries = below(bare, withColumn(q, tf.mul(logSumExp, -1 / scale), tf.onesLike(logSumExp)));
  const changes = below(tf.zeros([E, e + 1]), withColumn(dO, tf.neg(delta)));
  const keys = table(withColumn(k, tf.ones([...k.shape.slice(0, 4), 1]), keyBias(k, sizes)));
  const values = table(withColumn(v, tf.ones([...v.shape.slice(0, 4), 1])));
  const earlier = tf.tensor2d(
    Float32Array.from({ length: g * g }, (_, i) => (i % g <= Math.floor(i / g) ? 1 : 0)),
    [g, g],
  );

  const { collected } = scan(
    ({ last, dk, dv }, { keyTile, queryTiles }) => {
      const rows = picked(queries, queryTiles!, E); // -> [g, R·E, d + 2]
      const change = picked(changes, queryTiles!, E); // -> [g, R·E, e + 1]
      const P = tf.exp(tf.mul(tf.matMul(picked(keys, keyTile!, E), rows, false, true), scale)); // -> [g, E, R·E]
      const dS = tf.mul(P, tf.matMul(picked(values, keyTile!, E), change, false, true));
      // Sums with the earlier units of the same key tile, of this group and of the one before.
      const same = tf.cast(tf.equal(tf.reshape(keyTile!, [g, 1]), tf.reshape(keyTile!, [1, g])), 'float32');
      const before = tf.cast(tf.equal(tf.reshape(keyTile!, [g, 1]), last!), 'float32');
      const upTo = (units: Tensor, carried: Tensor): Tensor => {
        const flat = tf.reshape(units, [g, E * units.shape[2]!]);
        return tf.add(tf.matMul(tf.mul(same, earlier), flat), tf.mul(before, carried));
      };
      const next = {
        dk: upTo(tf.mul(tf.matMul(dS, rows), scale), dk!),
        dv: upTo(tf.matMul(P, change), dv!),
      };
      const end = (x: Tensor): Tensor => tf.slice(x, [g - 1, 0], [1, x.shape[1]!]);
      const carry = { last: tf.slice(keyTile!, [g - 1], [1]), dk: end(next.dk), dv: end(next.dv) };
      return { carry, collect: next };
    },
    { last: tf.fill([1], -1, 'int32'), dk: tf.zeros([1, E * (d + 2)]), dv: tf.zeros([1, E * (e + 1)]) },
    { keyTile: tf.reshape(transposed.keyTile, [U / g, g]), queryTiles: tf.reshape(transposed.queryTiles, [U / g, g, R]) },
  );
  const ofTiles = (units: Tensor, width: number, more: number): Tensor => {
    const rows = tf.gather(tf.reshape(units, [U, E * (width + more)]), transposed.lastUnit);
    const own = tf.mul(rows, tf.reshape(transposed.attended, [B * K * m, 1]));
    return tf.slice(tf.reshape(own, [B, K, m, E, width + more]), [0, 0, 0, 0, 0], [B, K, m, E, width]);
  };
  const { dk, dv } = collected as { dk: Tensor; dv: Tensor };
  return { dk: ofTiles(dk, d, 2), dv: ofTiles(dv, e, 1) };
}

const rowMax = (x: Tensor): Tensor => runFused('RowMax', { x })?.[0] ?? tf.max(x, -1, true);

/** Tiles as rows of a table, [B, K, m, E, c] -> [B·K·m, E·c], from which whole tiles are gathered. */
function table(x: Tensor): Tensor {
  const [B, K, m, E, c] = x.shape as [number, number, number, number, number];
  return tf.reshape(x, [B * K * m, E * c]);
}

/** A table with one more tile, as its first row: tile [E, c], x [B, K, n, E, c]. */
const below = (tile: Tensor, x: Tensor): Tensor => tf.concat([tf.reshape(tile, [1, -1]), table(x)], 0);

/** Tiles of a table, side by side: indices [g] or [g, s] -> [g, s·E, c]. */
function picked(rows: Tensor, indices: Tensor, E: number): Tensor {
  return tf.reshape(tf.gather(rows, indices), [indices.shape[0]!, (indices.shape[1] ?? 1) * E, rows.shape[1]! / E]);
}

/** Keys; where tiles are not full, with one more channel that the ones of `withOnes` add to the logits. */
const keyTable = (k: Tensor, sizes: Int32Array): Tensor =>
  table(sizes.every((size) => size === k.shape[3]) ? k : withColumn(k, keyBias(k, sizes)));

const withOnes = (q: Tensor, sizes: Int32Array, E: number): Tensor =>
  sizes.every((size) => size === E) ? q : withColumn(q, tf.ones([...q.shape.slice(0, 4), 1]));

/** What is added to the logits of each key slot: 0, or nearly -∞ where there is no token. */
function keyBias(k: Tensor, sizes: Int32Array): Tensor {
  const [B, K, m, E] = k.shape as [number, number, number, number];
  const bias = Float32Array.from({ length: m * E }, (_, slot) => (slot % E < sizes[Math.floor(slot / E)]! ? 0 : NOTHING));
  return tf.broadcastTo(tf.tensor(bias, [1, 1, m, E, 1]), [B, K, m, E, 1]);
}

const withColumn = (x: Tensor, ...columns: Tensor[]): Tensor => tf.concat([x, ...columns], 4);

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

/** Query tiles of a group: the largest divisor of their number whose logits take at most `LOGIT_BYTES`. */
function groupSize(total: number, logits: number): number {
  let g = Math.max(1, Math.min(total, Math.floor(LOGIT_BYTES / (4 * logits))));
  while (total % g !== 0) g--;
  return g;
}
