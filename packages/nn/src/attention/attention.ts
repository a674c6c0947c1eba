import { checkNumber, customGradient, dims, engineName, stopGradient, sumLast, type Tensor, tf } from '@atelier/tensor';
import { softmax } from '../layers/activation.ts';
import { linear, type LinearParams } from '../layers/linear.ts';
import { inPieces, pieceSizes } from '../layers/pieces.ts';

/** Bytes of logits that are worked on at a time, so that no T × T tensor lies in memory; of 2 to 512 MiB the fastest, forward and backward. */
const LOGIT_BYTES = 32 * 2 ** 20;

/** Rows of a causal tile, at most: the fewer, the less is computed for keys that a query does not see. */
const CAUSAL_ROWS = 128;
/** Added to the logit of a key that is not seen: low enough that its weight is exactly 0, finite so that no gradient becomes NaN. */
const UNSEEN = -1e9;
/** What stands above every logit. */
const UNBOUNDED = 3e38;
/** How far below any query's logit of its own key the logits of keys are put that it does not see: a weight of e⁻⁴⁰ is lost in any float32 sum. */
const DEPTH = 40;

export type AttentionOptions = {
  /**
   * What a query may see, broadcast against [B, K, T, S]: `bool`, true where it may (every query must see a key), or float32, added to
   * the logits (a relative position bias). Beside `causal` it says which keys there are at all, `bool` [S].
   */
  mask?: Tensor;
  /** Whether query i sees the keys 0 … i + S - T alone, so that the last query sees them all (T <= S). */
  causal?: boolean;
  /** Factor of the logits; 1/√d if not given. */
  scale?: number;
};

/** softmax(scale·QKᵀ + mask)·V: q [B, K, T, d], k [B, K, S, d], v [B, K, S, e] -> [B, K, T, e]. */
export function attention(q: Tensor, k: Tensor, v: Tensor, { mask, causal = false, scale }: AttentionOptions = {}): Tensor {
  const { B, K, T, d } = dims<'B' | 'K' | 'T' | 'd'>(q, 'B K T d', 'attention: q');
  const { S } = dims<'S'>(k, 'B K S d', 'attention: k', { B, K, d });
  dims(v, 'B K S e', 'attention: v', { B, K, S });
  if (scale !== undefined) checkNumber('attention: scale', scale);
  const factor = scale ?? d ** -0.5;
  if (causal) {
    if (T > S) throw new Error(`attention: causal: wanted at most as many queries as keys (${S}), got ${T}`);
    if (mask !== undefined && (mask.shape.join() !== String(S) || mask.dtype !== 'bool'))
      throw new Error(`attention: mask: wanted bool [${S}], one for each key, beside causal, got ${mask.dtype} [${mask.shape.join(', ')}]`);
    return causalAttention(q, k, v, factor, mask ?? null);
  }
  const bias = mask === undefined ? null : logitBias(mask, [B, K, T, S]);
  if (bias === null) {
    const rows = Math.max(1, Math.floor(LOGIT_BYTES / (4 * B * K * S)));
    const count = engineName() === 'ort' ? Math.ceil(T / rows) : 1;
    return inPieces([q], count, 2, (queries) => fusedAttention(queries!, k, v, factor)); // -> [B, K, T, e]
  }
  const logits = tf.mul(tf.matMul(q, k, false, true), factor); // -> [B, K, T, S]
  return tf.matMul(softmax(tf.add(logits, bias)), v); // -> [B, K, T, e]
}

/** Queries in rows of tiles, each with the keys that its last row sees; the triangle at the end of a tile is masked. `present`: bool [S]. */
function causalAttention(q: Tensor, k: Tensor, v: Tensor, scale: number, present: Tensor | null): Tensor {
  const [B, K, T, d] = q.shape as [number, number, number, number];
  const [S, e] = [k.shape[2]!, v.shape[3]!];
  const rows = engineName() === 'ort' ? Math.max(1, Math.min(CAUSAL_ROWS, Math.floor(LOGIT_BYTES / (4 * B * K * S)))) : T;
  const floor = T === 1 && present === null ? null : unseenLogit(q, tf.slice(k, [0, 0, S - T, 0], [B, K, T, d]), scale);
  const attend = (queries: Tensor, keys: Tensor, values: Tensor): Tensor => {
    if (floor === null) return fusedAttention(queries, keys, values, scale);
    const [n, seen] = [queries.shape[2]!, keys.shape[2]!];
    // UNBOUNDED where a key is seen and 0 where not; the floor added to it changes nothing above.
    let seenKeys = triangle(n, seen - n);
    if (present !== null) seenKeys = tf.minimum(seenKeys, tf.mul(tf.cast(tf.slice(present, [0], [seen]), 'float32'), UNBOUNDED));
    return fusedAttention(queries, keys, values, scale, tf.add(seenKeys, floor));
  };
  if (T <= rows) return attend(q, k, v);
  const sizes = pieceSizes(T, Math.ceil(T / rows));
  let seen = S - T;
  const tiles = tf.split(q, sizes, 2).map((queries, i) => {
    seen += sizes[i]!;
    return attend(queries, tf.slice(k, [0, 0, 0, 0], [B, K, seen, d]), tf.slice(v, [0, 0, 0, 0], [B, K, seen, e]));
  });
  return tf.concat(tiles, 2); // -> [B, K, T, e]
}

/**
 * A logit that stands for "not seen": below the logit of every query with its own key, which it always sees, by so much that the weight counts for
 * nothing, and no lower, for an exponential that underflows takes ten times as long. A scalar without gradient.
 */
function unseenLogit(q: Tensor, own: Tensor, scale: number): Tensor {
  const least = stopGradient(tf.min(tf.sum(tf.mul(q, own), -1)));
  return tf.sub(tf.mul(least, scale), DEPTH);
}

/** UNBOUNDED where one of `rows` queries behind `before` keys sees a key, up to its own, and 0 elsewhere. */
function triangle(rows: number, before: number): Tensor {
  const columns = before + rows;
  const values = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) values.fill(UNBOUNDED, i * columns, i * columns + before + i + 1);
  return tf.tensor2d(values, [rows, columns]);
}

/**
 * With P = softmax(min(s·QKᵀ, ceiling)) and O = PV, given dO: dV = PᵀdO, dS = P∘(dO·Vᵀ - δ), δ = rowsum(dO∘O), dQ = s·dS·K, dK = s·dSᵀQ. The row sums
 * of the softmax's own derivative, Σ P∘(dO·Vᵀ), are those of dO∘O, a smaller tensor. The ceiling [T, S] is a constant that nothing seen
 * comes up to.
 */
function fusedAttention(q: Tensor, k: Tensor, v: Tensor, scale: number, ceiling: Tensor | null = null): Tensor {
  const weights = (queries: Tensor, keys: Tensor, most: Tensor | undefined): Tensor => {
    const logits = tf.mul(tf.matMul(queries, keys, false, true), scale);
    return tf.softmax(most === undefined ? logits : tf.minimum(logits, most));
  };
  return customGradient([q, k, v], (queries, keys, values) => ({
    value: tf.matMul(weights(queries, keys, ceiling ?? undefined), values),
    kept: [queries, keys, values, ...(ceiling === null ? [] : [ceiling])],
    pullback: (dO, Q, K, V, ...[most]) => {
      const P = weights(Q, K, most);
      const delta = sumLast(tf.mul(dO, tf.matMul(P, V)));
      const dS = tf.mul(P, tf.sub(tf.matMul(dO, V, false, true), delta));
      return [tf.mul(tf.matMul(dS, K), scale), tf.mul(tf.matMul(dS, Q, true, false), scale), tf.matMul(P, dO, true, false)];
    },
  }));
}

/** Weights of self-attention: the rows of qkv are q, k and v, each head by head. */
export type SelfAttentionParams = { qkv: LinearParams; proj: LinearParams };

/** Self-attention of x [B, T, D] with `heads` heads; qkv.weight [3D, D], proj.weight [D, D] -> [B, T, D]. */
export function multiHeadSelfAttention(p: SelfAttentionParams, x: Tensor, heads: number, options: AttentionOptions = {}): Tensor {
  const { q, k, v } = queriesKeysValues(p, x, heads);
  return linear(p.proj, mergeHeads(attention(q, k, v, options)));
}

/** What self-attention attends with: x [B, T, D], qkv.weight [3D, D] -> q, k and v [B, K, T, D/K]. */
export function queriesKeysValues(p: SelfAttentionParams, x: Tensor, heads: number): { q: Tensor; k: Tensor; v: Tensor } {
  const { D } = dims<'D'>(x, 'B T D', 'multiHeadSelfAttention: x');
  checkHeads('multiHeadSelfAttention', D, heads);
  dims(p.qkv.weight, 'rows D', 'multiHeadSelfAttention: qkv.weight', { rows: 3 * D, D });
  // Cutting the weight in three costs less than cutting the wide product.
  const weights = tf.split(p.qkv.weight, 3, 0);
  const biases = tf.split(p.qkv.bias, 3, 0);
  const [q, k, v] = weights.map((weight, i) => splitHeads(linear({ weight, bias: biases[i]! }, x), heads));
  return { q: q!, k: k!, v: v! };
}

/** [B, T, D] -> [B, K, T, D/K]. */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const { B, T, D } = dims<'B' | 'T' | 'D'>(x, 'B T D', 'splitHeads: x');
  checkHeads('splitHeads', D, heads);
  return tf.transpose(tf.reshape(x, [B, T, heads, D / heads]), [0, 2, 1, 3]);
}

/** [B, K, T, d] -> [B, T, K·d], the inverse of `splitHeads`. */
export function mergeHeads(x: Tensor): Tensor {
  const { B, K, T, d } = dims<'B' | 'K' | 'T' | 'd'>(x, 'B K T d', 'mergeHeads: x');
  return tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [B, T, K * d]);
}

function checkHeads(where: string, D: number, heads: number): void {
  checkNumber(`${where}: heads`, heads, { integer: true, min: 1 });
  if (D % heads !== 0) throw new Error(`${where}: wanted a number of heads that divides the width ${D}, got ${heads}`);
}

function logitBias(mask: Tensor, shape: number[]): Tensor {
  const lead = shape.length - mask.rank;
  if (lead < 0 || mask.shape.some((size, axis) => size !== 1 && size !== shape[axis + lead])) {
    throw new Error(`attention: mask: wanted a shape that broadcasts to [${shape.join(', ')}], got [${mask.shape.join(', ')}]`);
  }
  if (mask.dtype === 'float32') return mask;
  if (mask.dtype !== 'bool') throw new Error(`attention: mask: wanted bool or float32, got ${mask.dtype}`);
  return tf.mul(tf.sub(tf.cast(mask, 'float32'), 1), -UNSEEN);
}
