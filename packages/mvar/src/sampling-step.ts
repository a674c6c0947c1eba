import { inPieces } from '@atelier/nn';
import { dims, tf, type Tensor } from '@atelier/tensor';
import type { KeyValues } from './attention.ts';
import type { Modulation } from './block.ts';
import type { MvarConfig } from './config.ts';
import { drawTokens, filterLogits, gumbelSoftmax, type Filter } from './filters.ts';
import { scalesOf, type Scale } from './ladder.ts';
import { embedTokens, modulations, pieces, type MvarParams } from './model.ts';
import { contribution, lookUp, nextInput, type QuantizerConfig, type QuantizerParams } from './quantizer.ts';
import { mvarStep } from './step.ts';

/** Inputs of a sampling step for scale l. An optional tensor is a list of one tensor or of none. */
export type StepIn = {
  /** Reconstruction f̂_{l-1} [B, H, H, c]; zeros at scale 0. */
  latents: Tensor;
  /** γ_l, scalar. */
  guidance: Tensor;
  /** Random numbers of all scales, [B, N, 1] or [B, N, 1 + V] (`drawTokenNoise`). */
  noise: Tensor;
  /** Class embeddings [B, g, C]; g is 2 with guidance (with the class, then without) and 1 without. */
  cond: Tensor;
  /** x_l [B, n, c]; none at scale 0. */
  scaleInputs: Tensor[];
  /** Cached keys and values [B·g, h, m, d], one list for each earlier scale that is seen: k and v of the first block, then of the second, … */
  past: Tensor[][];
  /** Given tokens of the scale [B, n] int32, -1 where one is to be drawn. */
  forced: Tensor[];
};
/**
 * Results of a sampling step: the tokens [B, n] int32, f̂_l, x_{l+1}, keys and values for the cache (ordered as in `past`), and, if `traced`, guided
 * logits [B, n, V].
 */
export type StepOut = { index: Tensor; latents: Tensor; scaleInputs: Tensor[]; kept: Tensor[]; logits: Tensor[] };
/** What decides the graph of a step. */
export type Mode = {
  l: number;
  /** Whether the reconstruction gets soft mixtures of codes. */
  smooth: boolean;
  /** Whether the step also returns its logits. */
  traced: boolean;
  filter: Required<Filter>;
};

/**
 * One sampling step: network, guidance, drawing of the tokens, reconstruction, inputs of the next scale. The batch goes through the network in
 * pieces. The g rows of a sample (with and without class) are in the same piece, so guidance is done there too, and logits of the whole batch exist
 * only if `traced`.
 */
export function samplingStep(
  params: MvarParams,
  codes: QuantizerParams,
  input: StepIn,
  mode: Mode,
  config: MvarConfig,
  coding: QuantizerConfig,
): StepOut {
  const { l } = mode;
  const scales = scalesOf(config.ladder);
  const scale = scales[l]!;
  const [B, g, C] = input.cond.shape as [number, number, number];
  const flat = tf.reshape(input.cond, [B * g, C]);
  const vectors = modulations(params, flat, config).flat().map((vector) => tf.reshape(vector, [B, g, 1, C])); // prettier-ignore
  const { past, forced, scaleInputs } = input;
  const apart = past.flat().map((x) => tf.reshape(x, [B, g, ...x.shape.slice(1)]));
  const own = tf.slice(input.noise, [0, scale.offset, 0], [B, scale.tokens, -1]);
  const given = [input.cond, own, ...scaleInputs, ...forced, ...vectors, ...apart];
  const results = inPieces(given, pieces(B, [scale], config, g), 0, (cond, noise, ...rest) => {
    const x = scaleInputs.length > 0 ? rest.shift()! : undefined;
    const fixed = forced.length > 0 ? rest.shift()! : undefined;
    const merged = rest.map((part) => tf.reshape(part, [-1, ...part.shape.slice(2)]));
    const six = chunks(merged.splice(0, 6 * config.depth), 6) as Modulation[];
    const kv = chunks(merged, 2 * config.depth).map((blocks) => chunks(blocks, 2).map(([k, v]): KeyValues => ({ k: k!, v: v! })));
    const rows = tf.reshape(cond!, [-1, C]);
    const tokens = embedTokens(params, rows, x && repeatSamples(x, g), [scale]);
    const { logits, kept } = mvarStep(params, { tokens, cond: rows, vectors: six, past: kv }, l, config);
    const guided = guide(logits, g, input.guidance);
    const chosen = choose(guided, noise!, fixed, { ...mode, place: l / (scales.length - 1) }, codes);
    const groups = kept.flatMap(({ k, v }) => [k, v]).map((x) => tf.reshape(x, [x.shape[0]! / g, g, ...x.shape.slice(1)]));
    return [chosen.index, ...(chosen.mixed ? [chosen.mixed] : []), ...(mode.traced ? [guided] : []), ...groups];
  });
  const index = results.shift()!;
  const mixed = mode.smooth ? tf.reshape(results.shift()!, [B, scale.side, scale.side, -1]) : lookUp(codes, index, scale);
  const logits = mode.traced ? [results.shift()!] : [];
  const latents = tf.add(input.latents, contribution(codes, mixed, scale, coding));
  const next: Scale | undefined = scales[l + 1];
  const kept = results.map((x) => tf.reshape(x, [B * g, ...x.shape.slice(2)]));
  return { index, latents, scaleInputs: next ? [nextInput(latents, next)] : [], kept, logits };
}

/** Cuts a list into parts of `size`. */
const chunks = (xs: readonly Tensor[], size: number): Tensor[][] =>
  Array.from({ length: xs.length / size }, (_, i) => xs.slice(i * size, (i + 1) * size));

/** Repeats every sample g times: [B, n, c] -> [B·g, n, c]. */
function repeatSamples(x: Tensor, g: number): Tensor {
  const [B, n, c] = x.shape as [number, number, number];
  return g === 1 ? x : tf.reshape(tf.broadcastTo(tf.reshape(x, [B, 1, n, c]), [B, g, n, c]), [B * g, n, c]);
}

/** Guidance (1 + γ)·L - γ·L∅ on logits [B·g, n, V] -> [B, n, V]; the rows of a sample are L, then L∅. Nothing to do if g is 1. */
function guide(logits: Tensor, g: number, gamma: Tensor): Tensor {
  if (g === 1) return logits;
  const [rows, n, V] = logits.shape as [number, number, number];
  const [own, none] = tf.unstack(tf.reshape(logits, [rows / 2, 2, n, V]), 1) as [Tensor, Tensor];
  return tf.sub(tf.mul(own, tf.add(gamma, 1)), tf.mul(none, gamma));
}

/**
 * Draws the tokens [B, n] of a scale, and for smooth samples the mixtures of codes [B, n, c]. `place` is l/(K - 1), 0 for the first scale and 1 for
 * the last.
 */
function choose(
  logits: Tensor,
  noise: Tensor,
  forced: Tensor | undefined,
  { place, smooth, filter }: Mode & { place: number },
  codes: QuantizerParams,
): { index: Tensor; mixed?: Tensor } {
  const { B, n, V } = dims<'B' | 'n' | 'V'>(logits, 'B n V', 'mvarSampler: logits');
  const kept = filterLogits(logits, filter);
  const uniform = tf.reshape(tf.slice(noise, [0, 0, 0], [B, n, 1]), [B, n]);
  // With topK 1 the drawing has only one outcome, except for ties; argMax takes the first of them.
  const drawn = filter.topK === 1 ? tf.cast(tf.argMax(logits, 2), 'int32') : drawTokens(kept, uniform);
  const isGiven = forced && tf.greaterEqual(forced, 0);
  const index = forced ? tf.where(isGiven!, forced, drawn) : drawn;
  if (!smooth) return { index };
  // Temperature and factor of the logits are those of VAR's `more_smooth`: larger scales are chosen harder.
  const tau = Math.max(0.27 * (1 - 0.95 * place), 0.005);
  const weights = gumbelSoftmax(tf.mul(kept, 1 + place), tf.slice(noise, [0, 0, 1], [B, n, V]), tau);
  const soft = tf.reshape(tf.matMul(tf.reshape(weights, [B * n, V]), codes.embedding.weight), [B, n, -1]);
  if (!forced) return { index, mixed: soft };
  const exact = tf.reshape(tf.gather(codes.embedding.weight, tf.reshape(index, [B * n])), [B, n, -1]);
  return { index, mixed: tf.where(tf.reshape(isGiven!, [B, n, 1]), exact, soft) };
}
