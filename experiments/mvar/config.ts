import { z } from 'zod';
import { runKeys } from '../src/runner/run-keys.ts';

const count = z.int().min(1);

/**
 * The networks and how they are trained: `var` is VAR, on all scales at once. MVAR adds the losses of all groups (`concat`) or trains one group per
 * iteration (`mixed`).
 */
export const kindNames = ['var', 'concat', 'mixed'] as const;
export type Kind = (typeof kindNames)[number];

const networkKeys = (defaults: { width: number; depth: number; heads: number; refineStep: number; kernelSize: number }) => ({
  width: count.default(defaults.width),
  depth: count.default(defaults.depth),
  heads: count.default(defaults.heads),
  /** First scale with windows, counted from 0 (MVAR). */
  refineStep: count.default(defaults.refineStep),
  /** Side of a window. */
  kernelSize: count.default(defaults.kernelSize),
});

const trainingKeys = (defaults: { iterations: number; mixedIterations: number }) => ({
  kinds: z
    .array(z.enum(kindNames))
    .min(1)
    .default([...kindNames]),
  /** Iterations of VAR, and of MVAR with all groups at once. Both train on all N tokens in each iteration. */
  iterations: count.default(defaults.iterations),
  /**
   * Iterations of MVAR with one group per iteration. An iteration trains fewer tokens: with the default ladder, 3.8 times as many iterations train as
   * many tokens.
   */
  mixedIterations: count.default(defaults.mixedIterations),
  batch: count.default(32),
  learningRate: z.number().positive().default(2e-3),
  /** Steps of the linear warm-up of the learning rate. */
  warmUp: z.int().min(0).default(20),
  /** Share of the labels that are replaced by "no class", so that guidance is possible. */
  labelDrop: z.number().min(0).max(1).default(0.1),
  /** ρ_k of mixed training, 8 for 8:1:1. */
  ratio: count.default(8),
});

const samplingKeys = (samples: number) => ({
  /** How many samples are drawn and compared with true images. */
  samples: count.default(samples),
  guidance: z.number().min(0).default(1.5),
  topK: z.int().min(0).default(0),
  topP: z.number().min(0).max(1).default(0.96),
});

const figuresSchema = z
  .strictObject({
    ...networkKeys({ width: 64, depth: 3, heads: 4, refineStep: 4, kernelSize: 5 }),
    ...trainingKeys({ iterations: 150, mixedIterations: 550 }),
    ...samplingKeys(1000),
    ladder: z.array(z.number()).default([1, 2, 3, 4, 6, 8]),
    codes: count.default(128),
    /** Images to train on, and others to validate on. */
    images: count.default(4096),
    validation: count.default(512),
    /** Repetitions with other initial weights and batches; the data and tokens are the same. */
    repeats: count.default(3),
    /** More networks to compare, each trained like MVAR with all groups at once: with other window sides, or with other histories and no windows. */
    windows: z.array(count).default([3, 6]),
    histories: z.array(count).default([1, 2]),
  })
  .prefault({});
export type Figures = z.output<typeof figuresSchema>;

const imagesSchema = z
  .strictObject({
    ...networkKeys({ width: 64, depth: 3, heads: 4, refineStep: 4, kernelSize: 5 }),
    ...trainingKeys({ iterations: 1500, mixedIterations: 5700 }),
    ...samplingKeys(512),
    kinds: z.array(z.enum(kindNames)).min(1).default(['var', 'concat']),
    data: z.enum(['mnist', 'cifar10']).default('mnist'),
    ladder: z.array(z.number()).default([1, 2, 3, 4, 6, 8]),
    codes: count.default(256),
    repeats: count.default(1),
    /** Images whose tokens are kept to train on, and others to validate on. */
    images: count.default(8000),
    validation: count.default(512),
    tokenizer: z
      .strictObject({
        latentChannels: count.default(8),
        width: count.default(16),
        multipliers: z.array(count).default([1, 2, 2]),
        blocks: count.default(1),
        groups: count.default(8),
        /** Training steps as a plain autoencoder (`plainSteps`), and then with the quantizer (`steps`). */
        plainSteps: count.default(300),
        steps: count.default(500),
        batch: count.default(16),
        learningRate: z.number().positive().default(1e-3),
      })
      .prefault({}),
    classifier: z
      .strictObject({ steps: count.default(400), batch: count.default(128), learningRate: z.number().positive().default(2e-3) })
      .prefault({}),
  })
  .prefault({});
export type Images = z.output<typeof imagesSchema>;

const partNames = ['figures', 'images'] as const;

export const configSchema = z.strictObject({
  ...runKeys(partNames, ['figures']),
  /** Drawn figures of 32 × 32 pixels and a tokenizer without training. */
  figures: figuresSchema,
  /** Digits or photographs, and a tokenizer that is trained. */
  images: imagesSchema,
});
export type Config = z.output<typeof configSchema>;
