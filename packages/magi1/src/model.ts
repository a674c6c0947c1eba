import { embedPatches, embedTimestep, initParameters, linear, unpatchify, type TimestepEmbedderParams } from '@atelier/nn';
import { dims, parseConfig, tf, type Rng, type Tensor } from '@atelier/tensor';
import { magiLayer, norm1p, type MagiLayerParams, type NormParams, type SelfAttention } from './block.ts';
import { magiConfig, magiParameters, type MagiConfig, type MagiSettings } from './config.ts';
import { initialBands, rotation } from './rotary.ts';
import { embedText, textCondition, type TextGroup, type TextParams } from './text.ts';

/** Parameters under their official names. */
export type MagiParams = {
  x_embedder: { weight: Tensor };
  t_embedder: TimestepEmbedderParams;
  y_embedder: TextParams;
  rope: { bands: Tensor };
  videodit_blocks: { layers: MagiLayerParams[]; final_layernorm: NormParams };
  final_linear: { linear: { weight: Tensor } };
};

/** New parameters. The caller owns them. */
export function initMagi(rng: Rng, settings: MagiSettings): MagiParams {
  const config = parseConfig(magiConfig, settings, 'initMagi');
  const params = initParameters(rng, magiParameters(config)) as unknown as MagiParams;
  params.rope.bands.dispose();
  return { ...params, rope: { bands: initialBands(config.headDim) } };
}

/** What one call of the network reads: M chunks of c frames, F = M·c. */
export type MagiInputs = {
  /** Noisy latents [B, F, H, W, C]. */
  x: Tensor;
  /** Time of every chunk [B, M], 0 noise … 1 data. */
  t: Tensor;
  /** Index of every frame in the whole video, [F] float32; 0 … F-1 if absent. */
  frames?: Tensor;
  /** Texts that the chunks attend to, in the order of the chunks. */
  texts: readonly TextGroup[];
  /**
   * [B, M] float32: 1 where the condition of a chunk says "with text", 0 for "without". It does not depend on what the text is; it is set apart from
   * `texts`.
   */
  textOn: Tensor;
  /** Only for a distilled network: code of the size of a step [B, M] (`stepCode`). */
  step?: Tensor;
};

/**
 * Velocity v [B, F, H, W, C]; for every layer the residual stream after it [B, T, D], and its keys and values [B, nk, T, hd]. T = F·h·w tokens, h × w
 * patches in a frame.
 */
export type MagiOutputs = { v: Tensor; hidden: Tensor[]; keys: Tensor[]; values: Tensor[] };

/**
 * The network v_θ: the velocity x¹ - x⁰ of every chunk (Eq. 3, arXiv 2505.13211).
 *
 * @param attend self-attention, which decides which token sees which: `attendSlices` of a list of slices, for example `blockCausalSlices`
 * @throws Error if inputs and settings do not fit, or a frame has fewer than 2 × 2 patches
 */
export function magiForward(params: MagiParams, inputs: MagiInputs, attend: SelfAttention, settings: MagiSettings): MagiOutputs {
  const config = parseConfig(magiConfig, settings, 'magiForward');
  const { B, F, h, w } = sizesOf(inputs, config);
  const cond = condition(params, inputs);
  const texts = inputs.texts.map(({ features, ...rest }) => ({ ...rest, features: embedText(params.y_embedder, features) }));
  const frames = inputs.frames ?? tf.range(0, F, 1, 'float32');
  const shared = { cond, turn: rotation(params.rope.bands, frames, { h, w }), texts, attend };
  let tokens = embedLatents(params, inputs.x, config); // -> [B, F·h·w, D]
  const [hidden, keys, values]: [Tensor[], Tensor[], Tensor[]] = [[], [], []];
  params.videodit_blocks.layers.forEach((layer, i) => {
    const out = magiLayer(layer, tokens, shared, i, config);
    tokens = out.h;
    hidden.push(tokens);
    keys.push(out.k);
    values.push(out.v);
  });
  checkLayers(keys.length, config);
  const last = linear(params.final_linear.linear, norm1p(params.videodit_blocks.final_layernorm, tokens));
  return { v: unembedLatents(last, [B, F, h, w], config), hidden, keys, values };
}

/** Condition of every chunk, [B, M, D/4]: T(t) [+ T(step)] + `textCondition`, with T the embedding of times. It sets the gates of all layers. */
export function condition(params: MagiParams, { t, step, textOn }: Pick<MagiInputs, 't' | 'step' | 'textOn'>): Tensor {
  const [B, M] = t.shape as [number, number];
  const embed = (times: Tensor): Tensor => tf.reshape(embedTimestep(params.t_embedder, tf.reshape(times, [B * M]), TIMES), [B, M, -1]);
  const ofTime = step === undefined ? embed(t) : tf.add(embed(t), embed(step));
  return tf.add(ofTime, textCondition(params.y_embedder, textOn));
}

/**
 * Times are multiplied by the frequencies first, then by 1000, in float32 as in the official code. Step codes are up to 32; for them the order
 * changes the third digit.
 */
export const TIMES = { angleScale: 1000 } as const;

/** Latents [B, F, H, W, C] -> tokens [B, F·h·w, D]. */
export function embedLatents(params: MagiParams, x: Tensor, { halfChannel, rescale, patch }: MagiConfig): Tensor {
  const [B, F, H, W, C] = x.shape as [number, number, number, number, number];
  const scaled = tf.reshape(rescale === 1 ? x : tf.mul(x, rescale), [B * F, H, W, C]);
  const [D, channels] = params.x_embedder.weight.shape as [number, number];
  const weight = tf.reshape(params.x_embedder.weight, [D, channels, ...patch]);
  const tokens = embedPatches({ weight }, halfChannel ? tf.concat([scaled, scaled], 3) : scaled); // -> [B·F, h·w, D]
  return tf.reshape(tokens, [B, -1, D]);
}

/** Outputs of the last layer [B, F·h·w, P·Q·C'] -> velocities [B, F, H, W, C]. */
function unembedLatents(tokens: Tensor, [B, F, h, w]: [number, number, number, number], config: MagiConfig): Tensor {
  const frames = unpatchify(tf.reshape(tokens, [B * F, h * w, -1]), { h, w, patchSize: config.patch }); // -> [B·F, H, W, C']
  const [, H, W] = frames.shape as [number, number, number];
  const kept = config.halfChannel ? tf.slice(frames, [0, 0, 0, 0], [B * F, H, W, config.channels]) : frames;
  return tf.reshape(config.rescale === 1 ? kept : tf.div(kept, config.rescale), [B, F, H, W, config.channels]);
}

function sizesOf(
  { x, t, frames, texts, textOn, step }: MagiInputs,
  { channels, patch }: MagiConfig,
): Record<'B' | 'F' | 'M' | 'h' | 'w', number> {
  const where = 'magiForward';
  const { B, F, H, W } = dims<'B' | 'F' | 'H' | 'W'>(x, 'B F H W C', `${where}: x`, { C: channels });
  const { M } = dims<'M'>(t, 'B M', `${where}: t`, { B });
  if (F % M !== 0) throw new Error(`${where}: x: wanted a number of frames that the ${M} chunks of t divide, got ${F}`);
  const [h, w] = [H / patch[0], W / patch[1]];
  if (!Number.isInteger(h) || !Number.isInteger(w) || h < 2 || w < 2)
    throw new Error(`${where}: x: wanted frames of at least 2 × 2 patches of ${patch.join(' × ')}, got ${H} × ${W}`);
  dims(textOn, 'B M', `${where}: textOn`, { B, M });
  if (step !== undefined) dims(step, 'B M', `${where}: step`, { B, M });
  if (frames !== undefined) dims(frames, 'F', `${where}: frames`, { F });
  const covered = texts.reduce((sum, { chunks }) => sum + chunks, 0);
  if (covered !== M) throw new Error(`${where}: texts: wanted texts of ${M} chunks, got texts of ${covered}`);
  texts.forEach(({ chunks, features, mask }, i) => {
    const shared = features.shape[0] === 1 && features.shape[1] === 1;
    const known = shared ? { B: 1, m: 1 } : { B, m: chunks };
    const { L } = dims<'L'>(features, 'B m L Y', `${where}: features of text ${i}`, known);
    if (mask !== undefined) dims(mask, 'B m L', `${where}: mask of text ${i}`, { ...known, L });
  });
  return { B, F, M, h, w };
}

function checkLayers(found: number, { layers }: MagiConfig): void {
  if (found !== layers) throw new Error(`magiForward: params: wanted ${layers} layers, got ${found}`);
}
