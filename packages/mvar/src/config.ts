import { parseConfig } from '@atelier/tensor';
import { parameterCount, type ParameterTable } from '@atelier/nn';
import { z } from 'zod';
import { scalesOf, tokenCount, type ScaleRange } from './ladder.ts';
import { ladderConfig } from './quantizer.ts';

const size = z.int().min(1);

/** Settings of the transformer. VAR and MVAR differ only in `historyScales`, `refineStep` and `kernelSize`; their parameters are the same. */
export const mvarConfig = z
  .strictObject({
    /** p_0 < … < p_{K-1}, sides of the token maps. */
    ladder: ladderConfig,
    /** w: a token sees the last w scales, including its own; 1 is MVAR, K (the number of scales) is VAR. */
    historyScales: size.default(1),
    /** The first scale, counted from 0, whose tokens see only a window; K for no windows. It must be the same in training and sampling. */
    refineStep: size,
    /** k: a window has k × k tokens of the query's own scale. */
    kernelSize: size.default(7),
    /** C, width of the tokens; a head has the width d = C/h. */
    width: size,
    /** D, number of blocks. */
    depth: size,
    /** h, number of heads. */
    heads: size,
    /** c, channels of a latent, as in the quantizer. */
    latentChannels: size,
    /** V, vectors of the codebook. */
    codes: size,
    /** Y, number of classes; label Y stands for "no class". */
    numClasses: size,
    /** Whether queries and keys are normalized to length 1, and the logits multiplied by one trained factor per head, as in all released models. */
    l2Norm: z.boolean().default(true),
    /** Whether all blocks share the linear layer from the class to scales, shifts and gates, and each adds a trained offset (VAR-d36). */
    sharedAdaLN: z.boolean().default(false),
    /** Hidden width of the MLPs, as a multiple of C. */
    mlpRatio: z.number().positive().default(4),
    /**
     * Initial size of the weights that make the gates γ, relative to other weights, so that a new block is near the identity; 1e-3 in all released
     * commands.
     */
    gateInit: z.number().min(0).default(1e-3),
    /** Highest rate of stochastic depth, reached in the last block from 0 in the first. */
    dropPath: z.number().min(0).lt(1).default(0),
  })
  .superRefine((c, context) => {
    const fault = (path: string, message: string): void => context.addIssue({ code: 'custom', path: [path], message });
    const scales = c.ladder.length;
    if (c.width % c.heads !== 0) fault('heads', `wanted a divisor of the width ${c.width}, got ${c.heads}`);
    if (c.historyScales > scales) fault('historyScales', `wanted at most the ${scales} scales, got ${c.historyScales}`);
    if (c.refineStep > scales) fault('refineStep', `wanted at most ${scales}, which is no window at all, got ${c.refineStep}`);
    const first = c.ladder[c.refineStep]; // side of the smallest map with windows
    if (first === undefined) return;
    if (c.historyScales > 1) fault('historyScales', `wanted 1 where scales from ${c.refineStep} on have windows, got ${c.historyScales}`);
    if (c.kernelSize > first)
      fault('kernelSize', `wanted at most ${first}, the side of the smallest scale with windows, got ${c.kernelSize}`);
  });

/** All settings, defaults filled in. */
export type MvarConfig = z.output<typeof mvarConfig>;
/** Settings as written, defaults left out. */
export type MvarSettings = z.input<typeof mvarConfig>;

/** The same network with VAR's attention: a token sees all scales up to its own. */
export function varSettings(settings: Omit<MvarSettings, 'historyScales' | 'refineStep' | 'kernelSize'>): MvarSettings {
  const { length } = settings.ladder;
  // No scale has windows, so the side of a window is never read.
  return { ...settings, historyScales: length, refineStep: length, kernelSize: 1 };
}

/** Whether tokens of this scale see only a window. */
export const hasWindow = ({ refineStep }: MvarConfig, scale: number): boolean => scale >= refineStep;

/** The first scale that tokens of scale l see. They see all scales from it up to l. */
export const firstSeen = (l: number, { historyScales }: MvarConfig): number => Math.max(0, l + 1 - historyScales);

/**
 * The groups of scales that training can process in separate passes: all scales without windows as one group, then one group for each scale with windows.
 * A network without windows has one group.
 */
export function trainingGroups({ ladder, refineStep }: MvarConfig): ScaleRange[] {
  const windowed = ladder.slice(refineStep).map((_, i) => ({ first: refineStep + i, end: refineStep + i + 1 }));
  return [{ first: 0, end: refineStep }, ...windowed];
}

/** Shape and official initialization of every parameter, by official name. Masks and index tables in official state dicts are not parameters. */
export function mvarParameters(settings: MvarSettings): ParameterTable {
  const c = parseConfig(mvarConfig, settings, 'mvarParameters');
  const { width: C, depth, heads, latentChannels, codes, numClasses, ladder } = c;
  const sigma = Math.sqrt(1 / (3 * C));
  const hidden = Math.round(C * c.mlpRatio);
  const table: ParameterTable = {};
  const weight = (name: string, shape: number[], factor = 1): void => {
    table[name] = { shape, init: { normal: sigma * factor } };
  };
  const layer = (name: string, out: number, width: number, factor = 1): void => {
    weight(`${name}.weight`, [out, width], factor);
    table[`${name}.bias`] = { shape: [out], init: 'zeros' };
  };
  weight('pos_start', [1, scalesOf(ladder)[0]!.tokens, C]);
  weight('pos_1LC', [1, tokenCount(ladder), C]);
  layer('word_embed', C, latentChannels);
  weight('class_emb.weight', [numClasses + 1, C]);
  weight('lvl_embed.weight', [ladder.length, C]);
  if (c.sharedAdaLN) layer('shared_ada_lin.1', 6 * C, C);
  for (let i = 0; i < depth; i++) {
    const at = `blocks.${i}`;
    // `initMvar` replaces the initial values of the attention factors, and scales those of the gates.
    if (c.l2Norm) table[`${at}.attn.scale_mul_1H11`] = { shape: [1, heads, 1, 1], init: 'zeros' };
    for (const bias of ['q_bias', 'v_bias']) table[`${at}.attn.${bias}`] = { shape: [C], init: 'zeros' };
    weight(`${at}.attn.mat_qkv.weight`, [3 * C, C]);
    layer(`${at}.attn.proj`, C, C, 1 / Math.sqrt(2 * depth));
    layer(`${at}.ffn.fc1`, hidden, C);
    layer(`${at}.ffn.fc2`, C, hidden, 1 / Math.sqrt(2 * depth));
    if (c.sharedAdaLN) table[`${at}.ada_gss`] = { shape: [1, 1, 6, C], init: { normal: C ** -0.5 * MODULATION_INIT } };
    else layer(`${at}.ada_lin.1`, 6 * C, C, MODULATION_INIT);
  }
  layer('head_nm.ada_lin.1', 2 * C, C, MODULATION_INIT);
  layer('head', codes, C, 0.02);
  return table;
}

/** Initial size of the weights that make scales and shifts (of blocks and head), relative to other weights. */
const MODULATION_INIT = 0.5;
/** `initMvar` multiplies the first two of the six modulation vectors, which are the gates, by this. */
export const gateFactor = ({ gateInit }: MvarConfig): number => gateInit / MODULATION_INIT;
/** Initial value of `scale_mul_1H11`, the logarithm of a head's factor. */
export const SCALE_INIT = Math.log(4);

/** Number of trained parameters, without allocating any (d16: 310.28 million). */
export const mvarParameterCount = (settings: MvarSettings): number => parameterCount(mvarParameters(settings));

/** The released depths. The width is 64 times the depth, and there are as many heads as blocks. */
export type PublishedDepth = 12 | 16 | 20 | 24 | 30;

/** Settings of a published MVAR for ImageNet at 256 or 512 pixels. Windows of 7 × 7 begin at the map of 13 × 13 tokens (scale 8 at 256 pixels, 6 at 512). */
export function publishedMvar(depth: PublishedDepth, { ladder }: { ladder: readonly number[] }): MvarSettings {
  const refineStep = ladder.indexOf(13);
  if (refineStep < 0) throw new Error(`publishedMvar: ladder: wanted a published one with a scale of 13, got [${ladder.join(', ')}]`);
  return {
    ladder: [...ladder],
    refineStep,
    kernelSize: 7,
    width: 64 * depth,
    depth,
    heads: depth,
    latentChannels: 32,
    codes: 4096,
    numClasses: 1000,
    dropPath: (0.1 * depth) / 24,
  };
}
