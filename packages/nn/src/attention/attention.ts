import { checkNumber, customGradient, dims, engineName, stopGradient, sumLast, sumTo, type Tensor, tf } from '@atelier/tensor';
import { linear, type LinearParams } from '../layers/linear.ts';
import { pieceSizes } from '../layers/pieces.ts';

/** Bytes of logits that are computed at a time, so that no T × T tensor is held in memory. Of 2 to 512 MiB this was the fastest, forward and backward. */
export const LOGIT_BYTES = 32 * 2 ** 20;

/** Largest number of rows in a causal tile. With fewer rows, less is computed for keys that a query does not see. */
const CAUSAL_ROWS = 128;

export type AttentionOptions = {
  /**
   * Which keys a query sees, in any shape that broadcasts to [B, K, T, S]. A `bool` mask is true if the query sees the key. A float32 mask is added
   * to the logits (for example a relative position bias); there -∞ means that the query does not see the key.
   */
  mask?: Tensor;
  /**
   * Whether the mask (with `causal`) is known to let every query see a key. Then nothing looks for queries without keys, which takes time if there are few keys; such a
   * query would give NaN.
   */
  everyQuerySees?: boolean;
  /**
   * Whether query i sees only the keys 0 … i + S - T, so that the last query sees all keys (T <= S; PyTorch's `causal_lower_right`). If there is
   * also a mask, a query sees the keys that both allow.
   */
  causal?: boolean;
  /** The logits are multiplied by this factor; 1/√d if absent. */
  scale?: number;
};

/**
 * softmax(scale·QKᵀ + mask)·V: q [B, K, T, d], k [B, K, S, d], v [B, K, S, e] -> [B, K, T, e].
 *
 * The logit of a key that a query does not see is replaced by -∞, so its weight and its gradients are exactly 0. A query that sees no key gives
 * zeros and gets zero gradients (as in PyTorch's fused kernels). All keys and values must be finite, also those that no query sees, because 0·NaN is NaN.
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { mask, everyQuerySees = false, causal = false, scale }: AttentionOptions = {},
): Tensor {
  const { B, K, T, d } = dims<'B' | 'K' | 'T' | 'd'>(q, 'B K T d', 'attention: q');
  const { S } = dims<'S'>(k, 'B K S d', 'attention: k', { B, K, d });
  dims(v, 'B K S e', 'attention: v', { B, K, S });
  if (scale !== undefined) checkNumber('attention: scale', scale);
  if (causal && T > S) throw new Error(`attention: causal: wanted at most as many queries as keys (${S}), got ${T}`);
  if (mask !== undefined) checkMask(mask, [B, K, T, S]);
  const sizes = pieceSizes(T, Math.ceil(T / tileRows([B, K, T, S], causal)));
  let end = 0;
  const tiles = (sizes.length === 1 ? [q] : tf.split(q, sizes, 2)).map((queries, i) => {
    const rows = sizes[i]!;
    end += rows;
    const keys = causal ? S - T + end : S;
    const part = mask && cut(cut(mask, -2, end - rows, rows), -1, 0, keys);
    return attend(
      queries,
      cut(k, 2, 0, keys),
      cut(v, 2, 0, keys),
      scale ?? d ** -0.5,
      visibility(part, causal ? triangle(rows, keys) : undefined, everyQuerySees),
    );
  });
  return tiles.length === 1 ? tiles[0]! : tf.concat(tiles, 2); // -> [B, K, T, e]
}

/** How many queries are computed at a time. On an eager engine all of them: there, tiles cost more time than they save. */
export function tileRows([B, K, T, S]: [number, number, number, number], causal: boolean): number {
  if (engineName() !== 'ort') return T;
  const rows = Math.max(1, Math.floor(LOGIT_BYTES / (4 * B * K * S)));
  return causal ? Math.min(CAUSAL_ROWS, rows) : rows;
}

/** Changes to the logits: `bias` is added, then `ceiling` is their upper limit, which is -∞ if the key is not seen. `sees` is false for a query without keys. */
export type Visibility = { bias?: Tensor | undefined; ceiling?: Tensor | undefined; sees?: Tensor | undefined };

/** `mask`: the option, cut to a tile. `limit` [n, keys]: ∞ if the causal order lets a query see a key, else -∞. */
export function visibility(mask: Tensor | undefined, limit?: Tensor, everyQuerySees = false): Visibility {
  if (mask === undefined) return { ceiling: limit };
  const own = mask.dtype === 'bool' ? tf.where(mask, Infinity, -Infinity) : stopGradient(mask);
  const open = limit === undefined ? own : tf.minimum(own, limit);
  if (everyQuerySees) return mask.dtype === 'bool' ? { ceiling: open } : { bias: mask, ceiling: limit };
  // A NaN in a mask is not -∞, so the result is NaN too.
  const sees = tf.notEqual(tf.max(open, -1, true), -Infinity); // [.., n, keys] -> [.., n, 1]
  return mask.dtype === 'bool' ? { ceiling: open, sees } : { bias: mask, ceiling: limit, sees };
}

/** The causal limit of the last `rows` queries of a sequence: ∞ for keys up to the query's own position, -∞ for later keys. [rows, keys]. */
function triangle(rows: number, keys: number): Tensor | undefined {
  if (rows === 1) return undefined;
  const values = new Float32Array(rows * keys).fill(-Infinity);
  for (let i = 0; i < rows; i++) values.fill(Infinity, i * keys, i * keys + keys - rows + i + 1);
  return tf.tensor2d(values, [rows, keys]);
}

/** P = softmax(min(s·QKᵀ + bias, ceiling)), [B, K, n, keys]. */
function weightsOf(q: Tensor, k: Tensor, scale: number, { bias, ceiling, sees }: Visibility): Tensor {
  // A query without keys gets finite logits, so that its weights are finite; they are not used.
  const lift = (x: Tensor): Tensor => (sees === undefined ? x : tf.maximum(x, tf.where(sees, -Infinity, 0)));
  const products = tf.mul(tf.matMul(q, k, false, true), scale);
  if (bias === undefined) return tf.softmax(ceiling === undefined ? products : tf.minimum(products, lift(ceiling)));
  const logits = tf.add(products, lift(bias));
  return tf.softmax(ceiling === undefined ? logits : tf.minimum(logits, ceiling));
}

const ofSeeing = (x: Tensor, sees: Tensor | undefined): Tensor => (sees === undefined ? x : tf.where(sees, x, 0));

/** O = PV. No gradient of its own: a caller puts it into a `customGradient` with `tileGradients`. */
export function attendTile(q: Tensor, k: Tensor, v: Tensor, scale: number, visible: Visibility): Tensor {
  return ofSeeing(tf.matMul(weightsOf(q, k, scale, visible), v), visible.sees);
}

/**
 * Given dO: dV = PᵀdO, dS = P∘(dO·Vᵀ - δ), δ = rowsum(dO∘O), dQ = s·dS·K, dK = s·dSᵀQ, and dS is the gradient of the logits. The row sums in the derivative of
 * the softmax, Σ P∘(dO·Vᵀ), equal those of dO∘O, which is a smaller tensor.
 */
export function tileGradients(
  dy: Tensor,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  scale: number,
  visible: Visibility,
): { dq: Tensor; dk: Tensor; dv: Tensor; dS: Tensor } {
  const dO = ofSeeing(dy, visible.sees);
  const P = weightsOf(q, k, scale, visible);
  const delta = sumLast(tf.mul(dO, tf.matMul(P, v)));
  const dS = tf.mul(P, tf.sub(tf.matMul(dO, v, false, true), delta));
  return { dq: tf.mul(tf.matMul(dS, k), scale), dk: tf.mul(tf.matMul(dS, q, true, false), scale), dv: tf.matMul(P, dO, true, false), dS };
}

/** Attention of a tile with its derivative. */
function attend(q: Tensor, k: Tensor, v: Tensor, scale: number, visible: Visibility): Tensor {
  const { bias, ceiling, sees } = visible;
  const inputs: readonly Tensor[] = bias === undefined ? [q, k, v] : [q, k, v, bias];
  return customGradient(inputs, (...given) => {
    const [queries, keys, values, added] = given as [Tensor, Tensor, Tensor, Tensor?];
    return {
      value: attendTile(queries, keys, values, scale, { bias: added, ceiling, sees }),
      kept: [...given, ...[ceiling, sees].flatMap((x) => x ?? [])],
      pullback: (dy, ...kept) => {
        const [Q, K, V] = kept as [Tensor, Tensor, Tensor];
        let next = 3;
        const [b, most, seeing] = [bias, ceiling, sees].map((x) => (x === undefined ? undefined : kept[next++]));
        const { dq, dk, dv, dS } = tileGradients(dy, Q, K, V, scale, { bias: b, ceiling: most, sees: seeing });
        return b === undefined ? [dq, dk, dv] : [dq, dk, dv, sumTo(dS, b.shape)];
      },
    };
  });
}

/** Weights of self-attention: the rows of qkv are q, k and v, each head by head. */
export type SelfAttentionParams = { qkv: LinearParams; proj: LinearParams };

/** Self-attention of x [B, T, D] with `heads` heads; qkv.weight [3D, D], proj.weight [D, D] -> [B, T, D]. */
export function multiHeadSelfAttention(p: SelfAttentionParams, x: Tensor, heads: number, options: AttentionOptions = {}): Tensor {
  const { q, k, v } = queriesKeysValues(p, x, heads);
  return linear(p.proj, mergeHeads(attention(q, k, v, options)));
}

/** Queries, keys and values of self-attention: x [B, T, D], qkv.weight [3D, D] -> q, k and v [B, K, T, D/K]. */
export function queriesKeysValues(p: SelfAttentionParams, x: Tensor, heads: number): { q: Tensor; k: Tensor; v: Tensor } {
  const { D } = dims<'D'>(x, 'B T D', 'multiHeadSelfAttention: x');
  checkHeads('multiHeadSelfAttention', D, heads);
  dims(p.qkv.weight, 'rows D', 'multiHeadSelfAttention: qkv.weight', { rows: 3 * D, D });
  // It costs less to split the weight into three than to split the wide product.
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

function checkMask(mask: Tensor, shape: number[]): void {
  const lead = shape.length - mask.rank;
  if (lead < 0 || mask.shape.some((size, axis) => size !== 1 && size !== shape[axis + lead])) {
    throw new Error(`attention: mask: wanted a shape that broadcasts to [${shape.join(', ')}], got [${mask.shape.join(', ')}]`);
  }
  if (mask.dtype !== 'float32' && mask.dtype !== 'bool') throw new Error(`attention: mask: wanted bool or float32, got ${mask.dtype}`);
}

/** `size` entries from `begin` along an axis. Returns the tensor itself if it has only one entry there (which broadcasts) or no such axis. */
function cut(x: Tensor, axis: number, begin: number, size: number): Tensor {
  const at = axis < 0 ? x.rank + axis : axis;
  if (at < 0 || x.shape[at] === 1 || x.shape[at] === size) return x;
  return tf.slice(
    x,
    x.shape.map((_, i) => (i === at ? begin : 0)),
    x.shape.map((whole, i) => (i === at ? size : whole)),
  );
}
