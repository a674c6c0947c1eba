import { checkNumber, customGradient, dims, engineName, stopGradient, sumLast, sumTo, type Tensor, tf } from '@atelier/tensor';
import { linear, type LinearParams } from '../layers/linear.ts';
import { pieceSizes } from '../layers/pieces.ts';

/** Bytes of logits that are worked on at a time, so that no T × T tensor lies in memory; of 2 to 512 MiB the fastest, forward and backward. */
const LOGIT_BYTES = 32 * 2 ** 20;

/** Rows of a causal tile, at most: the fewer, the less is computed for keys that a query does not see. */
const CAUSAL_ROWS = 128;

export type AttentionOptions = {
  /**
   * Which keys a query sees, in any shape that broadcasts to [B, K, T, S]: `bool`, true where it sees the key, or float32, added to the
   * logits (a relative position bias), where -∞ means that it does not see the key.
   */
  mask?: Tensor;
  /**
   * Whether query i sees only the keys 0 … i + S - T, so that the last query sees them all (T <= S; PyTorch's `causal_lower_right`). With a
   * mask too, a query sees the keys that both allow.
   */
  causal?: boolean;
  /** Factor of the logits; 1/√d if not given. */
  scale?: number;
};

/**
 * softmax(scale·QKᵀ + mask)·V: q [B, K, T, d], k [B, K, S, d], v [B, K, S, e] -> [B, K, T, e].
 *
 * The logit of a key that is not seen is replaced by -∞, whatever it was, so its weight and its gradients are exactly 0. A query that sees no
 * key gives zeros and gets zero gradients (as in PyTorch's fused kernels). Keys and values that nobody sees must still be finite, for 0·NaN is NaN.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, { mask, causal = false, scale }: AttentionOptions = {}): Tensor {
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
      visibility(part, causal ? triangle(rows, keys) : undefined),
    );
  });
  return tiles.length === 1 ? tiles[0]! : tf.concat(tiles, 2); // -> [B, K, T, e]
}

/** How many queries are worked on at a time. An eager engine takes them all: a tile would cost it more than it saves. */
function tileRows([B, K, T, S]: [number, number, number, number], causal: boolean): number {
  if (engineName() !== 'ort') return T;
  const rows = Math.max(1, Math.floor(LOGIT_BYTES / (4 * B * K * S)));
  return causal ? Math.min(CAUSAL_ROWS, rows) : rows;
}

/** What is done to the logits: `bias` is added, then they are cut at `ceiling`, -∞ where a key is not seen. `sees` is false for a query without keys. */
type Visibility = { bias?: Tensor | undefined; ceiling?: Tensor | undefined; sees?: Tensor | undefined };

/** `mask` as the option, cut to a tile, and `limit` [n, keys], ∞ where the causal order lets a query see a key and else -∞. */
function visibility(mask: Tensor | undefined, limit: Tensor | undefined): Visibility {
  if (mask === undefined) return { ceiling: limit };
  const own = mask.dtype === 'bool' ? tf.where(mask, Infinity, -Infinity) : stopGradient(mask);
  const open = limit === undefined ? own : tf.minimum(own, limit);
  // NaN in a mask is not -∞, so it comes through to the result.
  const sees = tf.notEqual(tf.max(open, -1, true), -Infinity); // [.., n, keys] -> [.., n, 1]
  return mask.dtype === 'bool' ? { ceiling: open, sees } : { bias: mask, ceiling: limit, sees };
}

/** ∞ where one of the last `rows` queries of a sequence sees a key, up to its own, and -∞ elsewhere: [rows, keys]. */
function triangle(rows: number, keys: number): Tensor | undefined {
  if (rows === 1) return undefined;
  const values = new Float32Array(rows * keys).fill(-Infinity);
  for (let i = 0; i < rows; i++) values.fill(Infinity, i * keys, i * keys + keys - rows + i + 1);
  return tf.tensor2d(values, [rows, keys]);
}

/**
 * With P = softmax(min(s·QKᵀ + bias, ceiling)) and O = PV, given dO: dV = PᵀdO, dS = P∘(dO·Vᵀ - δ), δ = rowsum(dO∘O), dQ = s·dS·K, dK = s·dSᵀQ
 * and dbias = dS, summed to its shape. The row sums of the softmax's own derivative, Σ P∘(dO·Vᵀ), are those of dO∘O, a smaller tensor.
 */
function attend(q: Tensor, k: Tensor, v: Tensor, scale: number, { bias, ceiling, sees }: Visibility): Tensor {
  const weights = (queries: Tensor, keys: Tensor, added?: Tensor, most?: Tensor, seeing?: Tensor): Tensor => {
    // A query without keys gets finite logits, so that its weights are numbers; they count for nothing.
    const lift = (x: Tensor): Tensor => (seeing === undefined ? x : tf.maximum(x, tf.where(seeing, -Infinity, 0)));
    const products = tf.mul(tf.matMul(queries, keys, false, true), scale); // -> [B, K, n, keys]
    if (added === undefined) return tf.softmax(most === undefined ? products : tf.minimum(products, lift(most)));
    const logits = tf.add(products, lift(added));
    return tf.softmax(most === undefined ? logits : tf.minimum(logits, most));
  };
  const ofSeeing = (x: Tensor, seeing?: Tensor): Tensor => (seeing === undefined ? x : tf.where(seeing, x, 0));
  const inputs: readonly Tensor[] = bias === undefined ? [q, k, v] : [q, k, v, bias];
  return customGradient(inputs, (...given) => {
    const [queries, keys, values, added] = given as [Tensor, Tensor, Tensor, Tensor?];
    return {
      value: ofSeeing(tf.matMul(weights(queries, keys, added, ceiling, sees), values), sees),
      kept: [...given, ...[ceiling, sees].flatMap((x) => x ?? [])],
      pullback: (dy, ...kept) => {
        const [Q, K, V] = kept as [Tensor, Tensor, Tensor];
        let next = 3;
        const [b, most, seeing] = [bias, ceiling, sees].map((x) => (x === undefined ? undefined : kept[next++]));
        const dO = ofSeeing(dy, seeing);
        const P = weights(Q, K, b, most, seeing);
        const delta = sumLast(tf.mul(dO, tf.matMul(P, V)));
        const dS = tf.mul(P, tf.sub(tf.matMul(dO, V, false, true), delta));
        const ofProducts = [tf.mul(tf.matMul(dS, K), scale), tf.mul(tf.matMul(dS, Q, true, false), scale), tf.matMul(P, dO, true, false)];
        return b === undefined ? ofProducts : [...ofProducts, sumTo(dS, b.shape)];
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

function checkMask(mask: Tensor, shape: number[]): void {
  const lead = shape.length - mask.rank;
  if (lead < 0 || mask.shape.some((size, axis) => size !== 1 && size !== shape[axis + lead])) {
    throw new Error(`attention: mask: wanted a shape that broadcasts to [${shape.join(', ')}], got [${mask.shape.join(', ')}]`);
  }
  if (mask.dtype !== 'float32' && mask.dtype !== 'bool') throw new Error(`attention: mask: wanted bool or float32, got ${mask.dtype}`);
}

/** `size` entries from `begin` along an axis counted from the end or the front; the tensor itself where it has one entry there, which broadcasts, or no such axis. */
function cut(x: Tensor, axis: number, begin: number, size: number): Tensor {
  const at = axis < 0 ? x.rank + axis : axis;
  if (at < 0 || x.shape[at] === 1 || x.shape[at] === size) return x;
  return tf.slice(
    x,
    x.shape.map((_, i) => (i === at ? begin : 0)),
    x.shape.map((whole, i) => (i === at ? size : whole)),
  );
}
