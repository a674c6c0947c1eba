import { attention, layerNorm, linear, mergeHeads, mlp, splitHeads, type LinearParams } from '@atelier/nn';
import { checkNumber, dims, type Tensor, tf } from '@atelier/tensor';
import type { TarFlowConfig } from './config.ts';

/** Added to the variance in every layer norm. */
const EPS = 1e-5;

export type NormParams = { weight: Tensor; bias: Tensor };
export type LayerParams = {
  attention: { norm: NormParams; qkv: LinearParams; proj: LinearParams };
  mlp: { norm: NormParams; main: { 0: LinearParams; 2: LinearParams } };
};
/** Parameters of a flow block under their official names; a model with classes has `class_embed` [N, 1, W]. */
export type BlockParams = {
  proj_in: LinearParams;
  pos_embed: Tensor;
  class_embed?: Tensor;
  attn_blocks: LayerParams[];
  proj_out: LinearParams;
};

/** Keys and values of each layer, [L] of [B, K, s, d]: the cache of s tokens, which later tokens need. */
export type KeyValues = { keys: Tensor[]; values: Tensor[] };

export type Conditioner = KeyValues & {
  /** α° [B, s, D], log-scale, and μ° [B, s, D], shift, **before** the shift by one: entry i belongs to token i + 1. */
  alpha: Tensor;
  mu: Tensor;
};

/** π_k, its own inverse: even blocks keep the order of tokens [B, T, …], odd ones reverse it. */
export function permute(x: Tensor, k: number): Tensor {
  return k % 2 === 0 ? x : tf.reverse(x, 1);
}

/**
 * The vectors that block k adds to the embedding of each token, in the block's own order: a position vector, which belongs to a place in the image, and
 * e(y). [1, T, W], or [B, T, W] with labels.
 *
 * e(y) is the class's vector for a label y >= 0, and the mean over all classes ("null class") for y = -1 or no labels. A model without classes
 * has no class term. (In the official samplers a label of -1 takes the last class instead.)
 * @param y labels [B] int32 in -1 … N-1
 */
export function tokenContext(p: BlockParams, k: number, y?: Tensor): Tensor {
  const positions = permute(tf.expandDims(p.pos_embed, 0), k); // [T, W] -> [1, T, W]
  if (p.class_embed === undefined) return positions;
  const none = tf.mean(p.class_embed, 0, true); // [N, 1, W] -> [1, 1, W]
  if (y === undefined) return tf.add(positions, none);
  const chosen = tf.gather(p.class_embed, tf.maximum(y, tf.scalar(0, 'int32'))); // -> [B, 1, W]
  const dropped = tf.reshape(tf.less(y, 0), [-1, 1, 1]);
  return tf.add(positions, tf.where(dropped, none, chosen));
}

/**
 * The token mixer of layer l: it maps normalized rows u [R, W] of any number of tokens, with the weights of the layer, to the concatenated heads [R, W]
 * before the output projection.
 */
export type Mixer = (u: Tensor, p: LayerParams['attention'], l: number) => Tensor;

/**
 * The transformer of a block on R rows, one token each: embedded tokens h [R, W] -> α° and μ° [R, D].
 *
 * h ← h + O·Attn(LN(h)) + b_O, h ← h + W₂·GELU(W₁·LN(h) + b₁) + b₂ in every layer, then one linear layer without a norm before it.
 */
export function conditionRows(p: BlockParams, h: Tensor, config: TarFlowConfig, mix: Mixer): { alpha: Tensor; mu: Tensor } {
  p.attn_blocks.forEach(({ attention: a, mlp: m }, l) => {
    h = tf.add(h, linear(a.proj, mix(layerNorm(h, { eps: EPS, ...a.norm }), a, l)));
    h = tf.add(h, mlp({ fc1: m.main[0], fc2: m.main[2] }, layerNorm(h, { eps: EPS, ...m.norm }), 'gelu-erf'));
  });
  const out = linear(p.proj_out, h); // -> [R, 2D], or [R, D] if the volume is preserved
  if (config.volumePreserving) return { alpha: tf.zerosLike(out), mu: out };
  const [alpha, mu] = tf.split(out, 2, 1) as [Tensor, Tensor];
  return { alpha, mu };
}

/**
 * The conditioner of a block on s consecutive tokens: α° and μ° of each, from itself and the tokens before it.
 *
 * Every block of a model is the same function of its parameters and context, so one compiled graph serves all of them. If `past` is given, the tokens
 * follow those in `past`, and each of them sees all of `past`.
 * @param x tokens in the block's order [B, s, D]
 * @param context the result of `tokenContext`, cut to these tokens: [1 or B, s, W]
 * @param past keys and values of all tokens before, [L] of [B, K, c, d] each; absent at the start of the sequence
 * @param seen int32 scalar: only the last `seen` of the c tokens in `past` are used; all of them if absent. So one graph serves every position
 * @param temperature τ of the attention logits, q·k / (√d·τ)
 */
export function conditioner(
  p: BlockParams,
  x: Tensor,
  config: TarFlowConfig,
  { context, past, seen, temperature = 1 }: { context: Tensor; past?: KeyValues; seen?: Tensor; temperature?: number },
): Conditioner {
  const { B, s, D } = dims<'B' | 's' | 'D'>(x, 'B s D', 'conditioner: x');
  const { width: W, headSize: d } = config;
  dims(context, 'rows s W', 'conditioner: context', { s, W });
  checkNumber('conditioner: temperature', temperature, { above: 0 });
  const scale = 1 / (Math.sqrt(d) * temperature);
  const keys: Tensor[] = [];
  const values: Tensor[] = [];
  const mask = past === undefined || seen === undefined ? undefined : pastMask(past.keys[0]!.shape[2]!, s, seen);
  const rows = tf.reshape(tf.add(linear(p.proj_in, x), context), [B * s, W]); // [B, s, D] -> [B·s, W]
  const out = conditionRows(p, rows, config, (u, a, l) => {
    const [q, k, v] = queriesKeysValues(a.qkv, u).map((part) => splitHeads(tf.reshape(part, [B, s, W]), W / d)) as [Tensor, Tensor, Tensor];
    keys.push(k); // [B, K, s, d]
    values.push(v);
    const [allKeys, allValues] = past === undefined ? [k, v] : [tf.concat([past.keys[l]!, k], 2), tf.concat([past.values[l]!, v], 2)];
    const mixed = attention(q, allKeys, allValues, { causal: true, scale, ...(mask && { mask }) });
    return tf.reshape(mergeHeads(mixed), [B * s, W]); // [B, K, s, d] -> [B·s, W]
  });
  return { alpha: tf.reshape(out.alpha, [B, s, D]), mu: tf.reshape(out.mu, [B, s, D]), keys, values };
}

/** True for the last `seen` of c earlier tokens and for the s new ones: [c + s]. */
function pastMask(c: number, s: number, seen: Tensor): Tensor {
  return tf.greaterEqual(tf.range(0, c + s, 1, 'int32'), tf.sub(tf.scalar(c, 'int32'), seen));
}

/** The outputs shifted by one token: the first token gets zeros, and the output of the last token is not used. [B, T, D] -> [B, T, D]. */
export function shiftByOne(x: Tensor): Tensor {
  const [B, T, D] = x.shape as [number, number, number];
  const first = tf.zeros([B, 1, D]);
  return T === 1 ? first : tf.concat([first, tf.slice(x, [0, 0, 0], [B, T - 1, D])], 1);
}

/**
 * Block k from data to noise: x [B, T, D] -> z = π⁻¹((π(x) - μ) ⊙ exp(-α)) [B, T, D], with α_t and μ_t made of the tokens before t.
 *
 * `logDet` [B] is log|det ∂z/∂x| / (T·D) = -mean(α). (apple/ml-tarflow transformer_flow.py:153.)
 */
export function blockForward(p: BlockParams, k: number, x: Tensor, config: TarFlowConfig, y?: Tensor): { z: Tensor; logDet: Tensor } {
  const permuted = permute(x, k);
  const raw = conditioner(p, permuted, config, { context: tokenContext(p, k, y) });
  const [alpha, mu] = [shiftByOne(raw.alpha), shiftByOne(raw.mu)];
  const z = permute(tf.mul(tf.sub(permuted, mu), tf.exp(tf.neg(alpha))), k);
  return { z, logDet: tf.neg(tf.mean(alpha, [1, 2])) };
}

/** One linear layer to the queries, keys and values of all heads: [R, W] -> three of [R, W]. */
function queriesKeysValues(p: LinearParams, u: Tensor): Tensor[] {
  const [R, W] = u.shape as [number, number];
  // For many rows three products cost less than one product that is split. For few rows splitting the weight would cost more.
  if (R < W) return tf.split(linear(p, u), 3, 1);
  const biases = tf.split(p.bias, 3, 0);
  return tf.split(p.weight, 3, 0).map((weight, i) => linear({ weight, bias: biases[i]! }, u));
}
