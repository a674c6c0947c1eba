import { checkNumber, embedClass, parseConfig } from '@atelier/nn';
import { compile, dims, tf, type Compiled, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { mvarConfig, type MvarConfig, type MvarSettings } from './config.ts';
import { checkFilter, type Filter } from './filters.ts';
import { scalesOf } from './ladder.ts';
import { checkModel, type MvarParams } from './model.ts';
import { checkQuantizer, quantizerConfig, type QuantizerConfig, type QuantizerParams, type QuantizerSettings } from './quantizer.ts';
import { samplingStep, type Mode, type StepIn, type StepOut } from './sampling-step.ts';

export type MvarSampleOptions = Filter & {
  /** Classes [B] int32 in 0 … Y, Y for none. */
  y: Tensor;
  /** Where the random numbers come from; each scale has a child of its own. */
  rng: Rng;
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

/** What a traced sample holds besides. */
export type MvarTrace = MvarSample & {
  /** Guided logits of every scale [B, p_l², V], before the filters. */
  logits: Tensor[];
  /** Running reconstructions [B, H, H, c]. */
  reconstructions: Tensor[];
};

/** Samples networks of fixed settings; its graphs live until `dispose`. What it returns belongs to the caller. */
export type MvarSampler = {
  (params: MvarParams, codes: QuantizerParams, options: MvarSampleOptions): MvarSample;
  trace(params: MvarParams, codes: QuantizerParams, options: MvarSampleOptions): MvarTrace;
  /** Called with the scale when its step is done, if set. */
  onStep?: ((l: number, bytes: number) => void) | undefined;
  dispose(): void;
};

type Step = Compiled<[MvarParams & Tree, QuantizerParams & Tree, StepIn], StepOut>;

/**
 * A sampler that goes through the scales from the smallest to the largest: K passes of the network, each over the tokens of one scale, which are drawn
 * at once.
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
  const steps = new Map<string, Step>();
  const stepOf = (mode: Mode): Step => {
    const key = JSON.stringify(mode);
    const made =
      steps.get(key) ?? compile((...args) => samplingStep(...args, mode, config, coding), { name: `mvar-step-${mode.l}`, idle: 'sleep' });
    steps.set(key, made);
    return made;
  };
  const run = (params: MvarParams, codes: QuantizerParams, options: MvarSampleOptions, traced: boolean): MvarTrace => {
    const { y, rng, guidance = 0, topK = 0, topP = 0, forced, smooth = false } = options;
    const { B } = checkOptions(params, codes, options, config, coding);
    const guided = guidance !== 0 && !(guidance === 1 && config.historyScales === 1);
    const scales = scalesOf(config.ladder, where);
    const side = config.ladder.at(-1)!;
    const out: MvarTrace = { tokens: [], latents: tf.zeros([B, side, side, config.latentChannels]), logits: [], reconstructions: [] };
    const cond = tf.tidy(() => conditions(params, y, guided, config));
    let read: Tensor[] = [];
    let past: Tensor[] = [];
    for (const { index: l, tokens } of scales) {
      const noise = drawNoise(rng.child(l), [B, tokens], smooth ? config.codes : 0);
      const level = tf.scalar((guidance * l) / (scales.length - 1));
      const input = { latents: out.latents, guidance: level, noise, cond, read, past, forced: forced ? [forced[l]!] : [] };
      const made = stepOf({ l, place: l / (scales.length - 1), guided, smooth, traced, filter: { topK, topP } })(
        params as never,
        codes as never,
        input,
      );
      tf.dispose([noise, level, read, past]);
      if (!traced || l === 0) out.latents.dispose();
      out.tokens.push(made.index);
      out.latents = made.latents;
      out.logits.push(...made.logits);
      if (traced) out.reconstructions.push(made.latents);
      [read, past] = [made.read, made.kept];
      sampler.onStep?.(l, past.reduce((sum, x) => sum + 4 * x.size, 0)); // prettier-ignore
    }
    cond.dispose();
    return out;
  };
  const sampler: MvarSampler = Object.assign(
    (params: MvarParams, codes: QuantizerParams, options: MvarSampleOptions): MvarSample => {
      const { tokens, latents } = run(params, codes, options, false);
      return { tokens, latents };
    },
    {
      trace: (params: MvarParams, codes: QuantizerParams, options: MvarSampleOptions) => run(params, codes, options, true),
      dispose: () => {
        for (const made of steps.values()) made.dispose();
        steps.clear();
      },
    },
  );
  return sampler;
}

/** Class embeddings [B, g, C]: of the class alone, or of it and of no class. */
function conditions(params: MvarParams, y: Tensor, guided: boolean, { numClasses, width: C }: MvarConfig): Tensor {
  const B = y.shape[0]!;
  const own = tf.reshape(embedClass(params.class_emb, y), [B, 1, C]);
  if (!guided) return own;
  const none = tf.reshape(tf.slice(params.class_emb.weight, [numClasses, 0], [1, C]), [1, 1, C]);
  return tf.concat([own, tf.broadcastTo(none, [B, 1, C])], 1);
}

/** Uniform numbers [B, n], and behind them, for smooth samples, V exponential ones each: [B, n, 1 + V]. */
function drawNoise(rng: Rng, [B, n]: [number, number], codes: number): Tensor {
  if (codes === 0) return rng.uniform([B, n, 1]);
  return tf.tidy(() => {
    // 1 - u lies in (0, 1].
    const exponential = tf.neg(tf.log(tf.sub(1, rng.child('exponential').uniform([B, n, codes]))));
    return tf.concat([rng.uniform([B, n, 1]), tf.maximum(exponential, 1e-30)], 2);
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

/** @throws Error naming the option that does not fit */
function checkOptions(
  params: MvarParams,
  codes: QuantizerParams,
  { y, guidance = 0, topK = 0, topP = 0, forced }: MvarSampleOptions,
  config: MvarConfig,
  coding: QuantizerConfig,
): { B: number } {
  const where = 'mvarSampler';
  checkModel(params, config, where);
  const scales = checkQuantizer(codes, coding, where);
  const { B } = dims<'B'>(y, 'B', `${where}: y`);
  checkLabels(y, config, where);
  checkNumber(`${where}: guidance`, guidance, { min: 0 });
  checkFilter({ topK, topP }, config.codes, where);
  if (forced === undefined) return { B };
  if (forced.length !== scales.length) throw new Error(`${where}: forced: wanted ${scales.length} token maps, got ${forced.length}`);
  scales.forEach(({ tokens }, l) => {
    const at = `${where}: forced: map ${l}`;
    dims(forced[l]!, 'B n', at, { B, n: tokens });
    if (forced[l]!.dtype !== 'int32') throw new Error(`${at}: wanted int32, got ${forced[l]!.dtype}`);
    const wrong = forced[l]!.dataSync().find((code) => code < -1 || code >= config.codes);
    if (wrong !== undefined) throw new Error(`${at}: wanted codes from 0 to ${config.codes - 1}, or -1 to draw one, got ${wrong}`);
  });
  return { B };
}

/** Labels are int32 in 0 … Y. It reads them, so it stands outside of compiled functions. */
export function checkLabels(y: Tensor, { numClasses }: MvarConfig, where: string): void {
  if (y.dtype !== 'int32') throw new Error(`${where}: y: wanted int32 labels, got ${y.dtype}`);
  const wrong = y.dataSync().find((label) => label < 0 || label > numClasses);
  if (wrong !== undefined) throw new Error(`${where}: y: wanted labels from 0 to ${numClasses} (no class), got ${wrong}`);
}
