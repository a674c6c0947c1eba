import { z } from 'zod';
import { runKeys } from '../src/runner/run-keys.ts';
import { optimizationKeys } from '../src/training/optimization.ts';

const count = z.int().min(1);
const training = (defaults: { steps: number; batch: number; learningRate: number }) =>
  z.strictObject(optimizationKeys({ ...defaults, warmUp: 20, decay: 'none', emaDecay: 0 })).prefault({});

const networkKeys = (defaults: { heads: number; headDim: number; ffnDim: number; layers: number }) => ({
  heads: count.default(defaults.heads),
  headDim: count.default(defaults.headDim),
  ffnDim: count.default(defaults.ffnDim),
  layers: count.default(defaults.layers),
});

/** How the tokens of a video see each other. `random` and `vsa` have the coarse output, the other ones do not. */
export const variantNames = ['full', 'vsa', 'fine', 'local', 'random'] as const;
export type Variant = (typeof variantNames)[number];

const dictionarySchema = z
  .strictObject({
    ...networkKeys({ heads: 2, headDim: 24, ffnDim: 128, layers: 2 }),
    /** Tiles that a query tile attends to, of 32. */
    keep: z.int().min(1).max(32).default(4),
    variants: z
      .array(z.enum(variantNames))
      .min(1)
      .default([...variantNames]),
    training: training({ steps: 400, batch: 8, learningRate: 2e-3 }),
    /** Steps between two evaluations of the variants `full` and `vsa`. */
    watch: count.default(50),
    /** Held-out videos at each of the times 0.2, 0.4, 0.6, 0.8. */
    judged: count.default(16),
    /** Numbers of tiles with which the trained network is evaluated again. */
    sweep: z.array(z.int().min(1).max(32)).default([1, 2, 4, 8, 32]),
    /** Steps of the adaptation of the trained full network; 0 for none. */
    adaptation: z.int().min(0).default(200),
    adaptationRate: z.number().positive().default(1e-3),
  })
  .prefault({});
export type Dictionary = z.output<typeof dictionarySchema>;

const glyphsSchema = z
  .strictObject({
    ...networkKeys({ heads: 3, headDim: 24, ffnDim: 192, layers: 3 }),
    characters: z.string().min(1).default('AKR5'),
    frames: count.default(8),
    side: count.default(32),
    videos: count.default(2000),
    keep: count.default(4),
    /** The full network's; the sparse one takes as many steps as the same number of counted operations allows. */
    training: training({ steps: 300, batch: 4, learningRate: 2e-3 }),
    samplingSteps: count.default(30),
    judged: count.default(8),
  })
  .prefault({});
export type Glyphs = z.output<typeof glyphsSchema>;

const speedSchema = z
  .strictObject({
    /** Frames of 32 × 32 tokens, from few to many. */
    frames: z.array(z.int().min(4)).min(2).default([4, 8, 16, 32, 64]),
    /** The most frames at which dense attention is timed too. */
    dense: count.default(16),
    sparsities: z.array(z.number().min(0).lt(1)).default([0.75, 0.875, 0.9375]),
    /** Frames of the transformer that samples. */
    sampled: count.default(16),
    turns: count.default(3),
  })
  .prefault({});

export const configSchema = z.strictObject({
  ...runKeys(['dictionary', 'glyphs', 'speed'] as const, ['dictionary']),
  /** Videos made of copies of a few noisy patches, which a denoiser must find. */
  dictionary: dictionarySchema,
  /** Letters that move, in pixels, with classes. */
  glyphs: glyphsSchema,
  /** Time and memory of attention against the number of tokens. */
  speed: speedSchema,
});
export type Config = z.output<typeof configSchema>;
