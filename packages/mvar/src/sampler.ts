import type { Sampler } from '@atelier/diffusion';
import { embedClass } from '@atelier/nn';
import { checkNumber, parseConfig, compile, dims, isTracing, tf, type Compiled, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { mvarConfig, type MvarConfig, type MvarSettings } from './config.ts';
import { checkFilter, type Filter } from './filters.ts';
import { tokenCount } from './ladder.ts';
import { checkModel, type MvarParams } from './model.ts';
import { checkQuantizer, quantizerConfig, type QuantizerConfig, type QuantizerParams, type QuantizerSettings } from './quantizer.ts';
import { samplingStep, type Mode, type StepIn, type StepOut } from './sampling-step.ts';

/** Weights of the network and of the quantizer, and the classes of the samples [B] int32 in 0 … Y, Y for none. */
export type MvarSamplerModel = { params: MvarParams; codes: QuantizerParams; y: Tensor };

export type MvarSampleOptions = Filter & {
  /**
   * s: at scale l the logits are (1 + γ)·conditional - γ·unconditional with γ = s·l/(K - 1). 0 is no guidance; neither is 1 with a history of one scale,
   * where the official MVAR leaves it out, unlike VAR. 0 if not given.
   */
  guidance?: number;
  /** Tokens that are given: one map [B, p_l²] int32 for each scale, -1 where a token is to be drawn (inpainting, outpainting, teacher forcing). */
  forced?: readonly Tensor[];
  /** Soft mixtures of codes in place of one code, for smoother pictures (`more_smooth`); the tokens are drawn all the same. */
  smooth?: boolean;
};

export type MvarSample = {
  /** Token maps [B, p_l²] int32. */
  tokens: Tensor[];
  /** The last reconstruction [B, H, H, c], for the tokenizer's decoder. */
  latents: Tensor;
};

/** One scale of a sample. */
export type MvarSampleStep = {
  l: number;
  /** Token map [B, p_l²] int32. */
  tokens: Tensor;
  /** Guided logits [B, p_l², V], before the filters. */
  logits: Tensor;
  /** The running reconstruction [B, H, H, c]. */
  latents: Tensor;
  /** Bytes of the keys and values that later steps see. */
  keptBytes: number;
};

/** The common contract, and the memory that a sample takes by the plan of its graphs. */
export type MvarSampler = Sampler<MvarSamplerModel, MvarSampleOptions, MvarSampleStep, MvarSample> & {
  /** The most bytes that the tensors of one step take at one time, over all steps of such a sample. It draws the sample. @throws Error on an engine without a graph */
  peakBytes(model: MvarSamplerModel, noise: Tensor, options: MvarSampleOptions): number;
};

type Step = Compiled<[MvarParams & Tree, QuantizerParams & Tree, StepIn], StepOut>;
type Made = { l: number; made: StepOut; keptBytes: number; peakBytes: number };

/**
 * A sampler that goes through the scales from the smallest to the largest: K passes of the network, each over the tokens of one scale, which are drawn
 * at once. `noise` is what the tokens are drawn by (`drawTokenNoise`).
 *
 * MVAR keeps nothing between steps but the reconstruction; VAR, and any history above one scale, keeps keys and values.
 *
 * @throws Error if the ladders, codebooks or latent channels of network and quantizer differ
 */
export function mvarSampler(settings: MvarSettings, quantizer: QuantizerSettings): MvarSampler {
  const where = 'mvarSampler';
  const config = parseConfig(mvarConfig, settings, where);
  const coding = parseConfig(quantizerConfig, quantizer, where);
  checkPair(config, coding, where);
  const compiled = new Map<string, Step>();
  const stepOf = (mode: Mode): Step => {
    const key = JSON.stringify(mode);
    const made =
      compiled.get(key) ??
      compile((...args) => samplingStep(...args, mode, config, coding), { name: `mvar-step-${mode.l}`, idle: 'sleep', keepMemory: false });
    compiled.set(key, made);
    return made;
  };
  return {
    sample(model, noise, options) {
      checkCall(model, noise, options, config, coding);
      const tokens: Tensor[] = [];
      let latents: Tensor | undefined;
      for (const { made } of scaleByScale(stepOf, model, noise, options, config)) {
        latents?.dispose();
        tokens.push(made.index);
        latents = made.latents.clone();
      }
      return { tokens, latents: latents! };
    },
    *steps(model, noise, options) {
      checkCall(model, noise, options, config, coding);
      for (const { l, made, keptBytes } of scaleByScale(stepOf, model, noise, options, config, { traced: true }))
        yield { l, tokens: made.index, logits: made.logits[0]!, latents: made.latents.clone(), keptBytes };
    },
    peakBytes(model, noise, options) {
      checkCall(model, noise, options, config, coding);
      let most = 0;
      for (const { made, peakBytes } of scaleByScale(stepOf, model, noise, options, config, { planned: true })) {
        made.index.dispose();
        most = Math.max(most, peakBytes);
      }
      return most;
    },
    get graphs() {
      return [...compiled.values()].reduce((sum, step) => sum + step.graphs, 0);
    },
    dispose() {
      for (const step of compiled.values()) step.dispose();
      compiled.clear();
    },
  };
}

/**
 * The scales of a sample, one after the other. Tokens and logits of a scale belong to whoever asks; what a later scale reads, the reconstruction among it, is
 * disposed when it is read, and at the end.
 */
function* scaleByScale(
  stepOf: (mode: Mode) => Step,
  { params, codes, y }: MvarSamplerModel,
  noise: Tensor,
  { guidance = 0, topK = 0, topP = 0, forced, smooth = false }: MvarSampleOptions,
  config: MvarConfig,
  { traced = false, planned = false } = {},
): Generator<Made, void, void> {
  const guided = guidance !== 0 && !(guidance === 1 && config.historyScales === 1);
  const [B, side, last] = [y.shape[0]!, config.ladder.at(-1)!, config.ladder.length - 1];
  const cond = tf.tidy(() => conditions(params, y, guided, config));
  let [latents, read]: [Tensor, Tensor[]] = [tf.zeros([B, side, side, config.latentChannels]), []];
  const past: Tensor[][] = [];
  try {
    for (let l = 0; l <= last; l++) {
      const level = tf.scalar((guidance * l) / last);
      const step = stepOf({ l, smooth, traced, filter: { topK, topP } });
      const input: StepIn = { latents, guidance: level, noise, cond, read, past, forced: forced ? [forced[l]!] : [] };
      const args = [params as MvarParams & Tree, codes as QuantizerParams & Tree, input] as const;
      const made = step(...args);
      const peakBytes = planned ? step.peakBytes(...args) : 0;
      tf.dispose([latents, level, read]);
      [latents, read] = [made.latents, made.read];
      past.push(made.kept);
      // Step l + 1 sees w scales, its own among them; the last step keeps nothing for another.
      tf.dispose(past.splice(0, l === last ? past.length : past.length - (config.historyScales - 1)));
      const keptBytes = past.flat().reduce((sum, x) => sum + 4 * x.size, 0);
      yield { l, made, keptBytes, peakBytes };
    }
  } finally {
    tf.dispose([latents, cond, read, past]);
  }
}

/** Class embeddings [B, g, C]: of the class alone, or of it and of no class. */
function conditions(params: MvarParams, y: Tensor, guided: boolean, { numClasses, width: C }: MvarConfig): Tensor {
  const B = y.shape[0]!;
  const own = tf.reshape(embedClass(params.class_emb, y), [B, 1, C]);
  if (!guided) return own;
  const none = tf.reshape(tf.slice(params.class_emb.weight, [numClasses, 0], [1, C]), [1, 1, C]);
  return tf.concat([own, tf.broadcastTo(none, [B, 1, C])], 1);
}

/**
 * What B samples are drawn by: a uniform number for each of the N tokens [B, N, 1], and for smooth samples behind it one exponential number for each code,
 * [B, N, 1 + V].
 */
export function drawTokenNoise(
  rng: Rng,
  B: number,
  { ladder, codes }: Pick<MvarConfig, 'ladder' | 'codes'>,
  { smooth = false }: Pick<MvarSampleOptions, 'smooth'> = {},
): Tensor {
  checkNumber('drawTokenNoise: B', B, { integer: true, min: 1 });
  const N = tokenCount(ladder);
  if (!smooth) return rng.uniform([B, N, 1]);
  return tf.tidy(() => {
    // 1 - u lies in (0, 1].
    const exponential = tf.neg(tf.log(tf.sub(1, rng.child('exponential').uniform([B, N, codes]))));
    return tf.concat([rng.uniform([B, N, 1]), tf.maximum(exponential, 1e-30)], 2);
  });
}

/** Network and quantizer speak of the same tokens. */
export function checkPair(config: MvarConfig, coding: QuantizerConfig, where: string): void {
  if (config.ladder.join() !== coding.ladder.join())
    throw new Error(`${where}: ladder: wanted that of the quantizer [${coding.ladder.join(', ')}], got [${config.ladder.join(', ')}]`);
  if (config.codes !== coding.codes) throw new Error(`${where}: codes: wanted the ${coding.codes} of the quantizer, got ${config.codes}`);
  if (config.latentChannels !== coding.channels)
    throw new Error(`${where}: latentChannels: wanted the ${coding.channels} channels of the quantizer, got ${config.latentChannels}`);
}

/** @throws Error naming the argument that does not fit */
function checkCall(
  { params, codes, y }: MvarSamplerModel,
  noise: Tensor,
  { guidance = 0, topK = 0, topP = 0, forced, smooth = false }: MvarSampleOptions,
  config: MvarConfig,
  coding: QuantizerConfig,
): void {
  const where = 'mvarSampler';
  checkModel(params, config, where);
  const scales = checkQuantizer(codes, coding, where);
  const { B } = dims<'B'>(y, 'B', `${where}: y`);
  checkLabels(y, config, where);
  dims(noise, 'B N R', `${where}: noise`, { B, N: tokenCount(config.ladder), R: smooth ? 1 + config.codes : 1 });
  checkNumber(`${where}: guidance`, guidance, { min: 0 });
  checkFilter({ topK, topP }, config.codes, where);
  if (forced === undefined) return;
  if (forced.length !== scales.length) throw new Error(`${where}: forced: wanted ${scales.length} token maps, got ${forced.length}`);
  scales.forEach(({ tokens }, l) => {
    const at = `${where}: forced: map ${l}`;
    dims(forced[l]!, 'B n', at, { B, n: tokens });
    if (forced[l]!.dtype !== 'int32') throw new Error(`${at}: wanted int32, got ${forced[l]!.dtype}`);
    const wrong = forced[l]!.dataSync().find((code) => code < -1 || code >= config.codes);
    if (wrong !== undefined) throw new Error(`${at}: wanted codes from 0 to ${config.codes - 1}, or -1 to draw one, got ${wrong}`);
  });
}

/** Labels are int32 in 0 … Y. Inside of a compiled function they have no values yet, and their range is not checked. */
export function checkLabels(y: Tensor, { numClasses }: MvarConfig, where: string): void {
  if (y.dtype !== 'int32') throw new Error(`${where}: y: wanted int32 labels, got ${y.dtype}`);
  if (isTracing()) return;
  const wrong = y.dataSync().find((label) => label < 0 || label > numClasses);
  if (wrong !== undefined) throw new Error(`${where}: y: wanted labels from 0 to ${numClasses} (no class), got ${wrong}`);
}
