import { dims, parseConfig, type Rng, type Tensor, tf } from '@atelier/tensor';
import { silu } from '../layers/activation.ts';
import { multiHeadSelfAttention, type SelfAttentionParams } from '../attention/attention.ts';
import { ditConfig, ditParameters, type DiTConfig, type DiTSettings } from './config.ts';
import { embedClass, embedTimestep, type TimestepEmbedderParams } from '../layers/embedding.ts';
import { initParameters } from '../parameters/init.ts';
import { linear, type LinearParams } from '../layers/linear.ts';
import { mlp, type MlpParams } from '../layers/mlp.ts';
import { layerNorm, modulate } from '../layers/norm.ts';
import { embedPatches, unpatchify } from '../layers/patch.ts';
import { inPieces, pieceCount } from '../layers/pieces.ts';
import { sinCosPositions } from '../layers/position.ts';

export type DiTBlockParams = { attn: SelfAttentionParams; mlp: MlpParams; adaLN_modulation: { 1: LinearParams } };
export type DiTFinalParams = { linear: LinearParams; adaLN_modulation: { 1: LinearParams } };

/** Parameters under their official names; `h_embedder` and `y_embedder` are there if the settings ask for them. */
export type DiTParams = {
  x_embedder: { proj: LinearParams };
  t_embedder: TimestepEmbedderParams;
  blocks: DiTBlockParams[];
  final_layer: DiTFinalParams;
} & ({ h_embedder: TimestepEmbedderParams } | object) &
  ({ y_embedder: { embedding_table: { weight: Tensor } } } | object);

/** Times t [B] and, where the settings ask for them, interval lengths h [B] and labels y [B] int32 (the null class is the last row). */
export type DiTInputs = { t: Tensor; h?: Tensor; y?: Tensor };

/** Attention of block `layer` on u [B, T, D], tokens row-major on an h × w grid -> [B, T, D]. */
export type TokenMixer = (u: Tensor, place: { layer: number; h: number; w: number }) => Tensor;

/** New parameters with the official start, in which the network's output is exactly 0. The caller owns them. */
export function initDiT(rng: Rng, settings: DiTSettings): DiTParams {
  return initParameters(rng, ditParameters(settings)) as DiTParams;
}

/**
 * Diffusion transformer with adaLN-Zero blocks: x [B, H, W, C] -> [B, H, W, C] (or 2C with learned variance).
 *
 * (facebookresearch/DiT models.py:233; Gsunshine/meanflow models_dit.py.) The grid follows from the image and need not be square.
 * `attention` takes the place of global attention in every block.
 */
export function applyDiT(
  params: DiTParams,
  x: Tensor,
  inputs: DiTInputs,
  settings: DiTSettings,
  options: { attention?: TokenMixer } = {},
): Tensor {
  const config = parseConfig(ditConfig, settings, 'applyDiT');
  const { B, H, W } = dims<'B' | 'H' | 'W'>(x, 'B H W C', 'applyDiT: x', { C: config.inChannels });
  const { patchSize, width: D, depth, heads } = config;
  if (params.blocks.length !== depth) throw new Error(`applyDiT: params: wanted ${depth} blocks, got ${params.blocks.length}`);
  const [h, w] = [H / patchSize, W / patchSize];
  const condition = silu(ditCondition(params, inputs, config, B));
  // The patch size is checked by the embedding, before h and w are used.
  let tokens = embedPatches(params.x_embedder.proj, x); // [B, H, W, C] -> [B, T, D]
  tokens = tf.add(tokens, sinCosPositions(h, w, D));
  const mix = options.attention;
  tokens = ditBlocks(params.blocks, tokens, condition, (block, u, layer) =>
    mix ? mix(u, { layer, h, w }) : multiHeadSelfAttention(block.attn, u, heads),
  );
  return unpatchify(ditFinalLayer(params.final_layer, tokens, condition), { h, w, patchSize }); // [B, T, P·P·C'] -> [B, H, W, C']
}

/** c = T(t) + T_h(h) + Y[y], as far as the settings ask for them: [B, D]. */
export function ditCondition(params: DiTParams, inputs: DiTInputs, config: DiTConfig, B: number): Tensor {
  const { timeScale } = config;
  dims(inputs.t, 'B', 'applyDiT: t', { B });
  let c = embedTimestep(params.t_embedder, inputs.t, { timeScale });
  if (config.interval !== (inputs.h !== undefined)) {
    throw new Error(
      `applyDiT: h: wanted ${config.interval ? 'interval lengths [B]' : 'none without the interval setting'}, got ${inputs.h ? 'some' : 'none'}`,
    );
  }
  if (inputs.h !== undefined) {
    dims(inputs.h, 'B', 'applyDiT: h', { B });
    if (!('h_embedder' in params)) throw new Error('applyDiT: params: wanted h_embedder for the interval setting, got none');
    c = tf.add(c, embedTimestep(params.h_embedder, inputs.h, { timeScale }));
  }
  if (config.numClasses > 0 !== (inputs.y !== undefined)) {
    throw new Error(
      `applyDiT: y: wanted ${config.numClasses > 0 ? 'labels [B]' : 'none for a network without classes'}, got ${inputs.y ? 'some' : 'none'}`,
    );
  }
  if (inputs.y !== undefined) {
    dims(inputs.y, 'B', 'applyDiT: y', { B });
    if (!('y_embedder' in params)) throw new Error('applyDiT: params: wanted y_embedder for a network with classes, got none');
    const table = params.y_embedder.embedding_table;
    dims(table.weight, 'rows D', 'applyDiT: y_embedder', { rows: config.numClasses + (config.nullClass ? 1 : 0), D: config.width });
    c = tf.add(c, embedClass(table, inputs.y));
  }
  return c;
}

/**
 * One adaLN-Zero block: tokens [B, T, D], condition SiLU(c) [B, D] -> [B, T, D].
 *
 * X += g₁⊙Attn(LN(X)(1 + γ₁) + β₁), X += g₂⊙MLP(LN(X)(1 + γ₂) + β₂), with (β₁, γ₁, g₁, β₂, γ₂, g₂) from one linear layer of the condition.
 */
export function ditBlock(p: DiTBlockParams, tokens: Tensor, condition: Tensor, attend: (u: Tensor) => Tensor): Tensor {
  return modulatedBlock(p, tokens, modulation(p.adaLN_modulation[1], condition, 6, 'ditBlock'), attend);
}

/**
 * A stack of blocks: tokens [B, T, D], condition SiLU(c) [B, D] -> [B, T, D]. The batch goes through in pieces whose activations stay in cache;
 * the modulation vectors, products of few rows with wide weights, are made for the whole batch at once.
 */
export function ditBlocks(
  blocks: readonly DiTBlockParams[],
  tokens: Tensor,
  condition: Tensor,
  attend: (block: DiTBlockParams, u: Tensor, layer: number) => Tensor,
): Tensor {
  const { B, T } = dims<'B' | 'T'>(tokens, 'B T D', 'ditBlocks: tokens');
  const vectors = blocks.flatMap((block) => modulation(block.adaLN_modulation[1], condition, 6, 'ditBlocks'));
  const widest = Math.max(0, ...blocks.map((block) => block.mlp.fc1.weight.shape[0]!));
  return inPieces([tokens, ...vectors], pieceCount(B, 4 * T * widest), 0, (piece, ...parts) =>
    blocks.reduce(
      (x, block, layer) => modulatedBlock(block, x, parts.slice(6 * layer, 6 * layer + 6), (u) => attend(block, u, layer)),
      piece!,
    ),
  );
}

function modulatedBlock(p: DiTBlockParams, tokens: Tensor, vectors: readonly Tensor[], attend: (u: Tensor) => Tensor): Tensor {
  const [shift1, scale1, gate1, shift2, scale2, gate2] = vectors;
  const attended = attend(modulate(layerNorm(tokens, { eps: 1e-6 }), shift1!, scale1!));
  const mixed = tf.add(tokens, tf.mul(gate1!, attended));
  const expanded = mlp(p.mlp, modulate(layerNorm(mixed, { eps: 1e-6 }), shift2!, scale2!), 'gelu-tanh');
  return tf.add(mixed, tf.mul(gate2!, expanded));
}

/** Norm, modulation and the last linear layer: tokens [B, T, D], condition SiLU(c) [B, D] -> [B, T, P·P·C']. */
export function ditFinalLayer(p: DiTFinalParams, tokens: Tensor, condition: Tensor): Tensor {
  const [shift, scale] = modulation(p.adaLN_modulation[1], condition, 2, 'ditFinalLayer');
  return linear(p.linear, modulate(layerNorm(tokens, { eps: 1e-6 }), shift!, scale!));
}

// One linear layer of the condition, cut into vectors that broadcast over the tokens: [B, D] -> n of [B, 1, D].
function modulation(p: LinearParams, condition: Tensor, n: number, where: string): Tensor[] {
  const { B, D } = dims<'B' | 'D'>(condition, 'B D', `${where}: condition`);
  dims(p.weight, 'rows D', `${where}: adaLN_modulation.1.weight`, { rows: n * D, D });
  return tf.split(tf.reshape(linear(p, condition), [B, 1, n * D]), n, 2);
}
