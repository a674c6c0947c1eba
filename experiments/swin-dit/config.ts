import { z } from 'zod';
import { imageSide, imageSourceKeys } from '../src/data/images.ts';
import { optimizationKeys } from '../src/training/optimization.ts';
import { runKeys } from '../src/runner/run-keys.ts';

const count = z.int().min(1);
const share = z.number().min(0).max(1);

/** How the networks of a part are trained: AdamW without decay, a linear warm-up, then half a cosine to 0. */
const trainingSchema = (defaults: Omit<Parameters<typeof optimizationKeys>[0], 'decay'>) =>
  z.strictObject(optimizationKeys({ ...defaults, decay: 'cosine' })).prefault({});

/**
 * What mixes the tokens: global attention (`dit`), only windows (`window`), Swin's shifted windows in every other layer (`swin`), PSWA with
 * the ramp from 1/4 to 3/4 of the heads (`pswa`), the same number of window heads in every layer (`uniform`), the reversed ramp (`reversed`), or
 * only bridging heads (`bridge`).
 */
export const modelNames = ['dit', 'window', 'swin', 'pswa', 'uniform', 'reversed', 'bridge'] as const;
export type ModelName = (typeof modelNames)[number];
const models = (defaults: ModelName[]) =>
  z
    .array(z.enum(modelNames))
    .min(1)
    .refine((names) => new Set(names).size === names.length, 'wanted each model once')
    .default(defaults);

const networkKeys = {
  patchSize: count.default(2),
  width: count.default(48),
  depth: count.default(4),
  heads: count.default(4),
};

type NetworkKeys = { patchSize: number; width: number; heads: number; window: number; kernel?: number | undefined };

/** Tokens along a side up to which divisors are listed. */
const MOST_TOKENS = 4096;

/** Refuses what the network itself would refuse, with the key that it stands at. */
function checkNetwork(context: z.RefinementCtx, path: string[], network: NetworkKeys, side: { of: string; pixels: number }): void {
  const { patchSize, width, heads, window, kernel } = network;
  const refuse = (key: string, message: string): void => context.addIssue({ code: 'custom', path: [...path, key], message });
  if (width % 4 !== 0) refuse('width', 'wanted a multiple of 4');
  if (width % heads !== 0) refuse('heads', `wanted a divisor of the width ${width}`);
  if (kernel !== undefined && kernel % 2 === 0) refuse('kernel', 'wanted an odd number');
  if (side.pixels % patchSize !== 0) return refuse('patchSize', `wanted a divisor of ${side.pixels}, the side of the ${side.of}`);
  const grid = side.pixels / patchSize;
  if (grid % Math.min(window, grid) !== 0) {
    // This check runs also beside a size that another one refuses.
    const divisors = Array.from({ length: Math.min(grid, MOST_TOKENS) }, (_, i) => i + 1).filter((candidate) => grid % candidate === 0);
    refuse('window', `wanted a divisor of ${grid}, the tokens along a side (${divisors.join(', ')})`);
  }
}

const fieldsSchema = z
  .strictObject({
    /** Tokens along a side of a field; the field has grid·patchSize pixels per side. */
    grid: count.default(6),
    ...networkKeys,
    window: count.default(3),
    /** K of the bridge; by the rule of the package if not given. */
    kernel: count.optional(),
    models: models(['dit', 'window', 'swin', 'pswa', 'bridge', 'uniform', 'reversed']),
    training: trainingSchema({ steps: 2000, batch: 32, learningRate: 2e-3, warmUp: 50, emaDecay: 0 }),
    /** Repetitions with other initial weights and batches. */
    repeats: count.default(2),
    /** Images of the fixed evaluation, one at each of the times 1, 3, …, 999 in turn. */
    images: z.int().min(2).default(500),
    /** Times at which seams are measured. */
    seamTimes: z.array(z.int().min(1).max(999)).min(1).default([150, 300, 500]),
    samplingSteps: z.int().min(2).max(1000).default(50),
  })
  .superRefine((fields, context) => {
    checkNetwork(context, [], fields, { of: 'fields', pixels: fields.grid * fields.patchSize });
    if (!fields.seamTimes.includes(SEAM_TIME))
      context.addIssue({ code: 'custom', path: ['seamTimes'], message: `wanted ${SEAM_TIME} among the times` });
  })
  .prefault({});
export type Fields = z.output<typeof fieldsSchema>;

/** The time at which seams are judged. */
export const SEAM_TIME = 500;

const imagesSchema = z
  .strictObject({
    ...imageSourceKeys({ data: 'glyphs', glyphSize: 16, drawn: 20_000 }),
    network: z
      .strictObject({
        ...networkKeys,
        patchSize: count.default(1),
        width: count.default(64),
        window: count.default(8),
        kernel: count.optional(),
        /** Whether the variance of the reverse steps is learnt too, as in the official DiT. */
        learnSigma: z.boolean().default(false),
      })
      .prefault({}),
    models: models(['dit', 'pswa']),
    training: trainingSchema({ steps: 5000, batch: 8, learningRate: 3e-3, warmUp: 100, emaDecay: 0.999 }),
    /** Probability of the null label. */
    classDrop: share.default(0.1),
    sampler: z.enum(['ddim', 'ddpm']).default('ddim'),
    samplingSteps: z.int().min(2).max(1000).default(50),
    /** Guidance scale of the pictures; distances are measured without guidance. */
    guidance: z.number().default(1.5),
    /** Samples whose distance from true images is measured. */
    samples: z.int().min(2).default(512),
    /** Noisy images, at times spread evenly, on which the attention of DiT is looked at. */
    analysed: count.default(32),
    /** Steps between two pictures of samples. */
    watch: count.default(1000),
  })
  .superRefine(({ network, ...source }, context) =>
    checkNetwork(context, ['network'], network, { of: 'images', pixels: imageSide(source) }),
  )
  .prefault({});
export type Images = z.output<typeof imagesSchema>;

/** The parts of the experiment, in the order in which they run. */
const partNames = ['fields', 'images'] as const;

export const configSchema = z.strictObject({
  ...runKeys(partNames),
  /** Gaussian random fields, whose best denoiser is known. */
  fields: fieldsSchema,
  /** Letters, digits, or photographs of CIFAR-10's format, with classes. */
  images: imagesSchema,
});
export type Config = z.output<typeof configSchema>;
