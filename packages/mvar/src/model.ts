import { embedClass, initParameters, inPieces, linear, pieceCount, silu, type LinearParams } from '@atelier/nn';
import { parseConfig, dims, tf, treeMap, type Rng, type Tensor } from '@atelier/tensor';
import { mvarAttention } from './attention.ts';
import { headNorm, modulation, mvarBlock, type Modulation, type MvarBlockParams } from './block.ts';
import { gateFactor, mvarConfig, mvarParameters, SCALE_INIT, type MvarConfig, type MvarSettings } from './config.ts';
import { checkRange, scalesOf, tokenCount, tokensOf, type Scale, type ScaleRange } from './ladder.ts';

/** Parameters under their official names, the same for VAR and MVAR. */
export type MvarParams = {
  /** Start token, added to the class embedding at scale 0, [1, n_0, C]. */
  pos_start: Tensor;
  /** Position embedding of the tokens of all scales, [1, N, C]. */
  pos_1LC: Tensor;
  /** Linear layer from the inputs x_l to tokens, c -> C. */
  word_embed: LinearParams;
  /** Class embeddings [Y + 1, C]; the last row is "no class". */
  class_emb: { weight: Tensor };
  /** Embedding of the scale (level) [K, C]. */
  lvl_embed: { weight: Tensor };
  /** From the class to six modulation vectors, C -> 6C, if all blocks share this layer. */
  shared_ada_lin?: { 1: LinearParams };
  blocks: MvarBlockParams[];
  /** Norm before the head: from the class to its scale and shift, C -> 2C. */
  head_nm: { ada_lin: { 1: LinearParams } };
  /** Head, C -> V logits. */
  head: LinearParams;
};

/**
 * New parameters with the official initialization: attention factors of 4, gates near 0, and a head so small that the loss begins at ln V. The caller owns
 * them.
 */
export function initMvar(rng: Rng, settings: MvarSettings): MvarParams {
  const config = parseConfig(mvarConfig, settings, 'initMvar');
  const drawn = initParameters(rng, mvarParameters(settings)) as unknown as MvarParams;
  const gates = gateFactor(config);
  return treeMap((leaf, path) => {
    let made: Tensor | null = null;
    if (path.endsWith('scale_mul_1H11')) made = tf.fill(leaf.shape, SCALE_INIT);
    else if (/^blocks\.\d+\.(ada_lin\.1\.weight|ada_gss)$/.test(path)) made = tf.tidy(() => scaleGates(leaf, gates, config.width));
    if (made === null) return leaf;
    leaf.dispose();
    return made;
  }, drawn as never) as unknown as MvarParams;
}

/** Multiplies the first two of six equal parts, the weights of the gates: [6C, …] or [1, 1, 6, C] -> the same shape. */
function scaleGates(x: Tensor, factor: number, C: number): Tensor {
  const rows = tf.reshape(x, [6, C, -1]);
  return tf.reshape(tf.mul(rows, tf.tensor3d([factor, factor, 1, 1, 1, 1], [6, 1, 1])), x.shape);
}

/** The inputs of a pass over a range of scales. */
export type MvarInputs = {
  /** Classes [B] int32 in 0 … Y; Y is "no class". */
  y: Tensor;
  /**
   * Inputs x_l of the tokens of the range [B, n, c], the part of `teacherInputs` for these scales. Scale 0 has no inputs: absent if the range is only
   * scale 0.
   */
  x?: Tensor;
  /** Factors of stochastic depth for the residual branches, [2·D, B]: block by block, attention before MLP (`drawDropPath`). */
  keep?: Tensor;
};

/**
 * Logits of the n tokens of a range of scales: [B, n, V]. The pass has no cache, so its tokens see only tokens of the range. If tokens see more than one scale
 * (`historyScales` > 1), the range must therefore begin at scale 0.
 *
 * @throws Error if parameters, inputs or range do not fit the settings
 */
export function mvarForward(params: MvarParams, inputs: MvarInputs, range: ScaleRange, settings: MvarSettings): Tensor {
  const where = 'mvarForward';
  const config = parseConfig(mvarConfig, settings, where);
  const scales = rangeOf(range, config, where);
  if (config.historyScales > 1 && range.first > 0)
    throw new Error(`${where}: range: wanted one from scale 0 on, for tokens see ${config.historyScales} scales, got ${range.first}`);
  checkModel(params, config, where);
  const { B } = dims<'B'>(inputs.y, 'B', `${where}: y`);
  const cond = embedClass(params.class_emb, inputs.y); // -> [B, C]
  const tokens = embedTokens(params, cond, inputs.x, scales);
  if (inputs.keep) dims(inputs.keep, 'rows B', `${where}: keep`, { rows: 2 * config.depth, B });
  const vectors = modulations(params, cond, config, inputs.keep);
  const out = inPieces([tokens, ...vectors.flat()], pieces(B, scales, config), 0, (piece, ...parts) =>
    params.blocks.reduce((x, block, i) => {
      const six = parts.slice(6 * i, 6 * i + 6) as Modulation;
      return mvarBlock(block, x, six, (u) => mvarAttention(block.attn, u, { range }, config).out);
    }, piece!),
  );
  return linear(params.head, headNorm(params.head_nm, out, cond));
}

/**
 * The number of pieces that a batch is cut into before the blocks, so that the activations of a piece stay in cache. With guidance a sample has two `copies`:
 * one with its class, one without.
 */
export function pieces(B: number, scales: readonly Scale[], config: MvarConfig, copies = 1): number {
  return pieceCount(B, 4 * copies * tokensOf(scales) * config.width * config.mlpRatio);
}

/** The six modulation vectors of every block, each [B, 1, C], from class embeddings cond [B, C]. */
export function modulations(params: MvarParams, cond: Tensor, config: MvarConfig, keep?: Tensor): Modulation[] {
  const [B, C] = cond.shape as [number, number];
  const shared = params.shared_ada_lin && tf.reshape(linear(params.shared_ada_lin[1], silu(cond)), [B, 1, 6, C]);
  const rows = keep && (config.depth === 1 ? [keep] : tf.split(keep, config.depth, 0));
  return params.blocks.map((block, i) => modulation(block, shared ?? cond, rows?.[i]));
}

/**
 * Embedded tokens of some neighbouring scales [B, n, C]. The token of scale 0 is the class embedding plus `pos_start`; the others are a linear layer of their
 * inputs x [B, n, c] (without those of scale 0). To all of them the embeddings of position and scale are added.
 */
export function embedTokens(params: MvarParams, cond: Tensor, x: Tensor | undefined, scales: readonly Scale[]): Tensor {
  const where = 'mvar embedding';
  const { B, C } = dims<'B' | 'C'>(cond, 'B C', `${where}: cond`);
  const n = tokensOf(scales);
  const starts = scales[0]!.index === 0;
  const read = n - (starts ? scales[0]!.tokens : 0);
  if ((x !== undefined) !== read > 0)
    throw new Error(`${where}: x: wanted ${read > 0 ? `inputs [B, ${read}, c]` : 'none for scale 0'}, got ${x ? 'some' : 'none'}`);
  const parts: Tensor[] = [];
  if (starts) parts.push(tf.add(tf.reshape(cond, [B, 1, C]), params.pos_start)); // [B, 1, C] + [1, n_0, C]
  if (x !== undefined) {
    dims(x, 'B n c', `${where}: x`, { B, n: read });
    parts.push(linear(params.word_embed, x));
  }
  const positions = tf.slice(params.pos_1LC, [0, scales[0]!.offset, 0], [1, n, C]);
  const levels = tf.concat(
    scales.map(({ index, tokens }) => tf.broadcastTo(tf.slice(params.lvl_embed.weight, [index, 0], [1, C]), [tokens, C])),
    0,
  );
  return tf.add(parts.length === 1 ? parts[0]! : tf.concat(parts, 1), tf.add(positions, levels));
}

/** The scales of a range. @throws Error unless it lies within the ladder */
export function rangeOf(range: ScaleRange, { ladder }: MvarConfig, where: string): Scale[] {
  const scales = scalesOf(ladder, where);
  checkRange(range, scales.length, `${where}: range`);
  return scales.slice(range.first, range.end);
}

/** @throws Error unless the parameters have the number of blocks, positions, classes and codes of the settings */
export function checkModel(params: MvarParams, config: MvarConfig, where: string): void {
  if (params.blocks.length !== config.depth)
    throw new Error(`${where}: params: wanted ${config.depth} blocks, got ${params.blocks.length}`);
  dims(params.pos_1LC, '1 N C', `${where}: pos_1LC`, { N: tokenCount(config.ladder), C: config.width });
  dims(params.class_emb.weight, 'rows C', `${where}: class_emb.weight`, { rows: config.numClasses + 1, C: config.width });
  dims(params.word_embed.weight, 'C c', `${where}: word_embed.weight`, { C: config.width, c: config.latentChannels });
  dims(params.head.weight, 'V C', `${where}: head.weight`, { V: config.codes, C: config.width });
}
