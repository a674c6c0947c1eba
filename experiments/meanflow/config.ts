import { wrongTangents } from '@atelier/meanflow';
import { z } from 'zod';

const count = z.int().min(1);
const share = z.number().min(0).max(1);

/** How the networks of a part are trained; flow matching and every kind of MeanFlow share all of it but the share of moving rows. */
export const trainingSchema = z.strictObject({
  steps: count.default(3000),
  batch: count.default(512),
  learningRate: z.number().positive().default(1e-3),
  /** Steps of linear warm-up at the start. */
  warmUp: z.int().min(0).default(0),
  decay: z.enum(['none', 'linear', 'cosine']).default('none'),
  /** Decay of the second moment of Adam. */
  b2: z.number().min(0).lt(1).default(0.999),
  /** EMA decay min(emaDecay, (i + 1) / (i + 10)) of the weights that are evaluated; 0 evaluates the last weights. */
  emaDecay: z.number().min(0).lt(1).default(0.999),
  /** Share of rows with r < t of MeanFlow; they stand at the end of a batch, and the JVP is computed for them alone. */
  movingShare: share.default(0.5),
  /** Mean and standard deviation of the normal whose sigmoid t and r are. */
  times: z.strictObject({ mean: z.number().default(-0.4), std: z.number().positive().default(1) }).prefault({}),
  /** Adaptive weight 1/(S + c)^p. */
  p: z.number().min(0).default(0),
  c: z.number().min(0).default(0.01),
});
export type Training = z.output<typeof trainingSchema>;

const tangentNames = Object.keys(wrongTangents) as [keyof typeof wrongTangents, ...(keyof typeof wrongTangents)[]];
const tangents = z.array(z.enum(tangentNames));
export type TangentName = keyof typeof wrongTangents;

export const pointsSchema = z.strictObject({
  width: count.default(128),
  depth: count.default(3),
  training: trainingSchema.prefault({}),
  /** Wrong tangents that are trained beside the right one. */
  tangents: tangents.default([]),
  /** Repetitions with other initial weights and draws. */
  repeats: count.default(1),
  samples: z.int().min(2).default(4096),
  manySteps: count.default(64),
});
export type Points = z.output<typeof pointsSchema>;

export const imagesSchema = z.strictObject({
  data: z.enum(['shapes', 'glyphs', 'mnist', 'fashion-mnist']).default('shapes'),
  /** Classes and side of glyph images. */
  characters: z.string().default('0123456789'),
  size: count.default(16),
  /** How many images are drawn for training, where they are drawn (shapes and glyphs). */
  drawn: count.default(50_000),
  network: z
    .strictObject({ patchSize: count.default(2), width: count.default(64), depth: count.default(3), heads: count.default(4) })
    .prefault({}),
  training: trainingSchema.prefault({ batch: 64, b2: 0.95, p: 1 }),
  /** Probability of the null label. */
  classDrop: share.default(0.1),
  /** MeanFlow networks trained with guidance, beside the one without: scale ω and mixing κ each. */
  guidance: z.array(z.strictObject({ omega: z.number(), kappa: z.number().lt(1) })).default([]),
  tangents: tangents.default([]),
  classifier: z
    .strictObject({ steps: count.default(800), batch: count.default(128), learningRate: z.number().positive().default(2e-3) })
    .prefault({}),
  samples: z.int().min(2).default(4096),
  manySteps: count.default(32),
  /** Steps between two pictures of samples. */
  watch: count.default(500),
});
export type Images = z.output<typeof imagesSchema>;

/** The parts of the experiment, in the order in which they run. */
export const partNames = ['gaussian', 'checkerboard', 'ring', 'images'] as const;
export type PartName = (typeof partNames)[number];

export const configSchema = z.strictObject({
  seed: z.int().min(0).default(0),
  parts: z
    .array(z.enum(partNames))
    .min(1)
    .refine((parts) => new Set(parts).size === parts.length, 'wanted each part once')
    .default([...partNames]),
  /** One Gaussian, for which the exact answer is known. */
  gaussian: pointsSchema.prefault({
    width: 64,
    depth: 2,
    training: { steps: 600, batch: 256, learningRate: 2e-3, decay: 'linear', emaDecay: 0, times: { mean: 0, std: 1.6 } },
  }),
  /** Two-dimensional densities; checkerboard and ring. */
  points: pointsSchema.prefault({}),
  images: imagesSchema.prefault({}),
});
export type Config = z.output<typeof configSchema>;
