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

/** What a step of sampling reads; lists of one tensor or none are what not every step has. */
export type StepIn = {
  latents: Tensor;
  guidance: Tensor;
  /** Of all scales, [B, N, 1] or [B, N, 1 + V] (`drawTokenNoise`). */
  noise: Tensor;
  cond: Tensor;
  read: Tensor[];
  /** Keys and values of earlier scales, scale by scale: k and v of the first block, then of the second, … */
  past: Tensor[][];
  forced: Tensor[];
};
/** What it gives: tokens, the reconstruction, the next scale's inputs, and the keys and values of its own that later steps see. */
export type StepOut = { index: Tensor; latents: Tensor; read: Tensor[]; kept: Tensor[]; logits: Tensor[] };
/** How a step works, besides its tensors. */
export type Mode = { l: number; smooth: boolean; traced: boolean; filter: Required<Filter> };

/** One step over the batch in pieces: a piece holds samples with and without their class side by side, and only its tokens come out. */
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
  const { past, forced, read } = input;
  const apart = past.flat().map((x) => tf.reshape(x, [B, g, ...x.shape.slice(1)]));
  const own = tf.slice(input.noise, [0, scale.offset, 0], [B, scale.tokens, -1]);
  const given = [input.cond, own, ...read, ...forced, ...vectors, ...apart];
  const results = inPieces(given, pieces(B, [scale], config, g), 0, (cond, noise, ...rest) => {
    const x = read.length > 0 ? rest.shift()! : undefined;
    const fixed = forced.length > 0 ? rest.shift()! : undefined;
    const merged = rest.map((part) => tf.reshape(part, [-1, ...part.shape.slice(2)]));
    const six = chunks(merged.splice(0, 6 * config.depth), 6) as Modulation[];
    const kv = chunks(merged, 2 * config.depth).map((blocks) => chunks(blocks, 2).map(([k, v]): KeyValues => ({ k: k!, v: v! })));
    const rows = tf.reshape(cond!, [-1, C]);
    const tokens = embedTokens(params, rows, x && twice(x, g), [scale]);
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
  return { index, latents, read: next ? [nextInput(latents, next)] : [], kept, logits };
}

/** A list in parts of equal length. */
const chunks = (xs: readonly Tensor[], size: number): Tensor[][] =>
  Array.from({ length: xs.length / size }, (_, i) => xs.slice(i * size, (i + 1) * size));

/** Every sample g times in a row: [B, n, c] -> [B·g, n, c]. */
function twice(x: Tensor, g: number): Tensor {
  const [B, n, c] = x.shape as [number, number, number];
  return g === 1 ? x : tf.reshape(tf.broadcastTo(tf.reshape(x, [B, 1, n, c]), [B, g, n, c]), [B * g, n, c]);
}

/** (1 + γ)·L - γ·L∅ of logits [B·g, n, V] -> [B, n, V]. */
function guide(logits: Tensor, g: number, gamma: Tensor): Tensor {
  if (g === 1) return logits;
  const [rows, n, V] = logits.shape as [number, number, number];
  const [own, none] = tf.unstack(tf.reshape(logits, [rows / 2, 2, n, V]), 1) as [Tensor, Tensor];
  return tf.sub(tf.mul(own, tf.add(gamma, 1)), tf.mul(none, gamma));
}

/** The tokens of a scale, and for smooth samples the mixtures of codes [B, n, c]; `place` is l/(K - 1). */
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
  const drawn = filter.topK === 1 ? tf.cast(tf.argMax(logits, 2), 'int32') : drawTokens(kept, uniform);
  const isGiven = forced && tf.greaterEqual(forced, 0);
  const index = forced ? tf.where(isGiven!, forced, drawn) : drawn;
  if (!smooth) return { index };
  const tau = Math.max(0.27 * (1 - 0.95 * place), 0.005);
  const weights = gumbelSoftmax(tf.mul(kept, 1 + place), tf.slice(noise, [0, 0, 1], [B, n, V]), tau);
  const soft = tf.reshape(tf.matMul(tf.reshape(weights, [B * n, V]), codes.embedding.weight), [B, n, -1]);
  if (!forced) return { index, mixed: soft };
  const exact = tf.reshape(tf.gather(codes.embedding.weight, tf.reshape(index, [B * n])), [B, n, -1]);
  return { index, mixed: tf.where(tf.reshape(isGiven!, [B, n, 1]), exact, soft) };
}
