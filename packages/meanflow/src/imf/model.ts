import {
  attention,
  embedClass,
  embedPatches,
  embedTimestep,
  initParameters,
  linear,
  loadParameters,
  mergeHeads,
  rmsNorm,
  rotate,
  silu,
  splitHeads,
  unpatchify,
  type LinearParams,
  type TimestepEmbedderParams,
} from '@atelier/nn';
import { dims, parseConfig, type Rng, type Tensor, tf } from '@atelier/tensor';
import { flaxNames, toFlax } from '../flax.ts';
import { imfConfig, imfPrefix, type ImfConfig, type ImfSettings } from './config.ts';
import type { ImfCondition, TwoHeadedVelocity } from './heads.ts';
import { imfFlaxNames, imfParameters } from './parameters.ts';

type Weight = { weight: Tensor };
export type ImfBlockParams = {
  norm1: Weight;
  attn: { q_proj: Weight; k_proj: Weight; v_proj: Weight; out_proj: Weight; q_norm: Weight; k_norm: Weight };
  attn_scale: Tensor;
  norm2: Weight;
  mlp: { w1: Weight; w2: Weight; w3: Weight };
  mlp_scale: Tensor;
};
type FinalParams = { norm: Weight; linear: LinearParams };
export type ImfParams = {
  time_tokens: Tensor;
  class_tokens: Tensor;
  omega_tokens: Tensor;
  t_min_tokens: Tensor;
  t_max_tokens: Tensor;
  x_embedder: { proj: LinearParams };
  h_embedder: TimestepEmbedderParams;
  omega_embedder: TimestepEmbedderParams;
  cfg_t_start_embedder: TimestepEmbedderParams;
  cfg_t_end_embedder: TimestepEmbedderParams;
  y_embedder: { embedding_table: Weight };
  /** Absent if the heads have all of the blocks. */
  shared_blocks?: ImfBlockParams[];
  u_heads: ImfBlockParams[];
  v_heads: ImfBlockParams[];
  u_final_layer: FinalParams;
  v_final_layer: FinalParams;
};

/** Epsilon of every RMS norm. */
const EPS = 1e-6;

/** New parameters, initialised as in the official code: both outputs are exactly 0. The caller owns them. */
export function initImf(rng: Rng, settings: ImfSettings): ImfParams {
  return initParameters(rng, imfParameters(settings)) as unknown as ImfParams;
}

/**
 * The transformer of improved MeanFlow as two functions, one per head (arXiv 2512.02012; Lyy-iiis/imeanflow models/imfDiT.py):
 * u is the average velocity and v the instantaneous velocity.
 *
 * The conditions are tokens that stand before those of the image: class, ω as 1 - 1/ω, both ends of the guidance interval, and h. The time t
 * itself is not embedded. On a lazy engine the blocks that both heads share are computed once.
 */
export function imfNetwork(params: ImfParams, settings: ImfSettings): TwoHeadedVelocity {
  const config = parseConfig(imfConfig, settings, 'imfNetwork');
  const head =
    (which: 'u' | 'v') =>
    (z: Tensor, _t: Tensor, h: Tensor, condition: ImfCondition): Tensor => {
      const { H, W } = dims<'H' | 'W'>(z, 'B H W C', 'imfNetwork: z', { C: config.inChannels });
      const tokens = [...(params.shared_blocks ?? []), ...params[`${which}_heads`]].reduce(
        (seq, block) => imfBlock(block, seq, config.heads),
        sequence(params, z, h, condition),
      );
      const prefix = imfPrefix(config);
      const image = tf.slice(tokens, [0, prefix, 0], [-1, tokens.shape[1]! - prefix, -1]); // [B, prefix + T, D] -> [B, T, D]
      const { norm, linear: last } = params[`${which}_final_layer`];
      const patches = linear(last, rmsNorm(image, { eps: EPS, weight: norm.weight }));
      return unpatchify(patches, { h: H / config.patchSize, w: W / config.patchSize, patchSize: config.patchSize }); // -> [B, H, W, C]
    };
  return { u: head('u'), v: head('v') };
}

/** Condition and image tokens in the official order: [B, prefix + T, D]. A condition token is a learned token plus the embedded value. */
function sequence(params: ImfParams, z: Tensor, h: Tensor, { omega, tMin, tMax, y }: ImfCondition): Tensor {
  const conditioned = (tokens: Tensor, value: Tensor): Tensor => tf.add(tf.expandDims(tokens, 0), tf.expandDims(value, 1)); // -> [B, n, D]
  return tf.concat(
    [
      conditioned(params.class_tokens, embedClass(params.y_embedder.embedding_table, y)),
      conditioned(params.omega_tokens, embedTimestep(params.omega_embedder, tf.sub(1, tf.reciprocal(omega)))),
      conditioned(params.t_min_tokens, embedTimestep(params.cfg_t_start_embedder, tMin)),
      conditioned(params.t_max_tokens, embedTimestep(params.cfg_t_end_embedder, tMax)),
      conditioned(params.time_tokens, embedTimestep(params.h_embedder, h)),
      embedPatches(params.x_embedder.proj, z),
    ],
    1,
  );
}

/** One block: attention with normalised, rotated queries and keys, then a gated MLP. A learned factor per channel scales both. [B, T, D] -> [B, T, D]. */
export function imfBlock(p: ImfBlockParams, x: Tensor, heads: number): Tensor {
  const a = rmsNorm(x, { eps: EPS, weight: p.norm1.weight });
  const project = (layer: Weight): Tensor => splitHeads(linear(layer, a), heads); // -> [B, K, T, D/K]
  const placed = (layer: Weight, norm: Weight): Tensor => rotate(rmsNorm(project(layer), { eps: EPS, weight: norm.weight }));
  const mixed = attention(placed(p.attn.q_proj, p.attn.q_norm), placed(p.attn.k_proj, p.attn.k_norm), project(p.attn.v_proj));
  const attended = tf.add(x, tf.mul(linear(p.attn.out_proj, mergeHeads(mixed)), p.attn_scale));
  const b = rmsNorm(attended, { eps: EPS, weight: p.norm2.weight });
  const gated = tf.mul(silu(linear(p.mlp.w1, b)), linear(p.mlp.w3, b));
  return tf.add(attended, tf.mul(linear(p.mlp.w2, gated), p.mlp_scale));
}

/** Parameters from the tensors of an official checkpoint (names `net/…`). @throws Error that names every tensor that does not fit. */
export function imfFromFlax(tensors: Readonly<Record<string, Tensor>>, config: ImfConfig): ImfParams {
  return loadParameters(imfParameters(config), tensors, flaxNames(imfFlaxNames(config)), 'imfFromFlax') as unknown as ImfParams;
}

/** A tree of parameters (or of gradients or averages of the same shapes) under the names and in the layout of the official checkpoint. */
export function imfToFlax(params: ImfParams, config: ImfConfig): Record<string, Tensor> {
  return toFlax(imfFlaxNames(config), params as never, 'imfToFlax');
}
