import type { Sampler } from '@atelier/diffusion';
import { embedClass } from '@atelier/nn';
import { checkNumber, parseConfig, compile, dims, isTracing, tf, type Compiled, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { mvarConfig, type MvarConfig, type MvarSettings } from './config.ts';
import { checkFilter, type Filter } from './filters.ts';
import { tokenCount } from './ladder.ts';
import { checkModel, type MvarParams } from './model.ts';
import { checkQuantizer, quantizerConfig, type QuantizerConfig, type QuantizerParams, type QuantizerSettings } from './quantizer.ts';
import { samplingStep, type Mode, type StepIn, type StepOut } from './sampling-step.ts';

/** Weights of the network (`params`) and of the quantizer (`codes`), and the classes of the samples y [B] int32 in 0 … Y; Y is "no class". */
export type MvarSamplerModel = { params: MvarParams; codes: QuantizerParams; y: Tensor };

export type MvarSampleOptions = Filter & {
  /**
   * s: at scale l the logits are (1 + γ)·L - γ·L∅ with γ = s·l/(K - 1), L with the class and L∅ without. 0, the default, is no guidance. With a history of one
   * scale, exactly 1 is no guidance either: the official MVAR leaves it out there, the official VAR does not.
   */
  guidance?: number;
  /** Given tokens: one map [B, p_l²] int32 for each scale, -1 where a token is to be drawn (inpainting, outpainting, teacher forcing). */
  forced?: readonly Tensor[];
  /**
   * Whether the reconstruction gets soft mixtures of codes instead of single codes, for smoother pictures (VAR's `more_smooth`). The tokens are drawn
   * as usual.
   */
  smooth?: boolean;
};

export type MvarSample = {
  /** Token maps [B, p_l²] int32. */
  tokens: Tensor[];
  /** The last reconstruction f̂_{K-1} [B, H, H, c], for the tokenizer's decoder. */
  latents: Tensor;
};

/** One scale of a sample. */
export type MvarSampleStep = {
  l: number;
  /** Token map [B, p_l²] int32. */
  tokens: Tensor;
  /** Guided logits [B, p_l², V], before the filters. */
  logits: Tensor;
  /** The reconstruction f̂_l [B, H, H, c]. */
  latents: Tensor;
  /** Bytes of the cached keys and values that later steps see. */
  keptBytes: number;
};

/** The interface of all samplers, and the memory that a sample needs by the plan of its graphs. */
export type MvarSampler = Sampler<MvarSamplerModel, MvarSampleOptions, MvarSampleStep, MvarSample> & {
  /**
   * The largest number of bytes that the tensors of one step take at one time, over all steps. It has to draw a sample to find this.
   * @throws Error on an engine without a graph
   */
  peakBytes(model: MvarSamplerModel, noise: Tensor, options: MvarSampleOptions): number;
};

type Step = Compiled<[MvarParams & Tree, QuantizerParams & Tree, StepIn], StepOut>;
/** A finished step, the bytes in the cache after it, and (if `planned`) the largest sum of bytes of tensors in it. */
type Made = { l: number; made: StepOut; keptBytes: number; peakBytes: number };

/**
 * A sampler that goes through the scales from the smallest to the largest: K passes of the network, each over the tokens of one scale, which are drawn at once.
 * `noise` holds the random numbers for drawing (`drawTokenNoise`), so equal noise gives equal samples.
 *
 * Between steps, MVAR keeps only the reconstruction. VAR, and any history of more than one scale, also keeps keys and values.
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
 * Makes the steps of a sample, one after the other. The caller owns the tokens and logits of each step. Everything that the next step needs, such as the
 * reconstruction, belongs to this function: it is disposed after the next step, or at the end.
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
  let [latents, scaleInputs]: [Tensor, Tensor[]] = [tf.zeros([B, side, side, config.latentChannels]), []];
  const past: Tensor[][] = [];
  try {
    for (let l = 0; l <= last; l++) {
      const level = tf.scalar((guidance * l) / last);
      const step = stepOf({ l, smooth, traced, filter: { topK, topP } });
      const input: StepIn = { latents, guidance: level, noise, cond, scaleInputs, past, forced: forced ? [forced[l]!] : [] };
      const args = [params as MvarParams & Tree, codes as QuantizerParams & Tree, input] as const;
      const made = step(...args);
      const peakBytes = planned ? step.peakBytes(...args) : 0;
      tf.dispose([latents, level, scaleInputs]);
      [latents, scaleInputs] = [made.latents, made.scaleInputs];
      past.push(made.kept);
      // Step l + 1 sees w scales including its own, so w - 1 of the cache; after the last step nothing is needed.
      tf.dispose(past.splice(0, l === last ? past.length : past.length - (config.historyScales - 1)));
      const keptBytes = past.flat().reduce((sum, x) => sum + 4 * x.size, 0);
      yield { l, made, keptBytes, peakBytes };
    }
  } finally {
    tf.dispose([latents, cond, scaleInputs, past]);
  }
}

/** Class embeddings [B, g, C]: only of the class (g = 1), or, with guidance, of the class and of "no class" (g = 2). */
function conditions(params: MvarParams, y: Tensor, guided: boolean, { numClasses, width: C }: MvarConfig): Tensor {
  const B = y.shape[0]!;
  const own = tf.reshape(embedClass(params.class_emb, y), [B, 1, C]);
  if (!guided) return own;
  const none = tf.reshape(tf.slice(params.class_emb.weight, [numClasses, 0], [1, C]), [1, 1, C]);
  return tf.concat([own, tf.broadcastTo(none, [B, 1, C])], 1);
}

/**
 * The random numbers that B samples are drawn with: for each of the N tokens one uniform number in [0, 1), [B, N, 1]. For smooth samples, V exponential numbers
 * follow it, one for each code: [B, N, 1 + V].
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
    // 1 - u lies in (0, 1], so the logarithm is finite.
    const exponential = tf.neg(tf.log(tf.sub(1, rng.child('exponential').uniform([B, N, codes]))));
    return tf.concat([rng.uniform([B, N, 1]), tf.maximum(exponential, 1e-30)], 2);
  });
}

/** @throws Error unless network and quantizer have the same ladder, codes and channels */
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

/** @throws Error unless labels are int32 in 0 … Y. While a function is being compiled they have no values yet, so only the type is checked */
export function checkLabels(y: Tensor, { numClasses }: MvarConfig, where: string): void {
  if (y.dtype !== 'int32') throw new Error(`${where}: y: wanted int32 labels, got ${y.dtype}`);
  if (isTracing()) return;
  const wrong = y.dataSync().find((label) => label < 0 || label > numClasses);
  if (wrong !== undefined) throw new Error(`${where}: y: wanted labels from 0 to ${numClasses} (no class), got ${wrong}`);
}
