import { wrongTangents } from '@atelier/meanflow';
import { z } from 'zod';
import { imageSide, imageSourceKeys } from '../src/data/images.ts';
import { classifierKeys } from '../src/evaluation/classifier.ts';
import { optimizationKeys } from '../src/training/optimization.ts';
import { runKeys } from '../src/runner/run-keys.ts';

const count = z.int().min(1);
const share = z.number().min(0).max(1);

/** Defaults that differ from part to part. */
type TrainingDefaults = Parameters<typeof optimizationKeys>[0] & { b2: number; times: { mean: number; std: number }; p: number };

/** How the networks of a part are trained; flow matching and every kind of MeanFlow share all of it but the share of moving rows. */
const trainingSchema = (defaults: TrainingDefaults) =>
  z
    .strictObject({
      ...optimizationKeys(defaults),
      /** Decay of the second moment of Adam. */
      b2: z.number().min(0).lt(1).default(defaults.b2),
      /** Share of rows with r < t in MeanFlow. They are at the end of a batch, and the JVP is computed only for them. */
      movingShare: share.default(0.5),
      /** Mean and standard deviation of the normal whose sigmoid t and r are. */
      times: z
        .strictObject({ mean: z.number().default(defaults.times.mean), std: z.number().positive().default(defaults.times.std) })
        .prefault({}),
      /** Adaptive weight 1/(S + c)^p. */
      p: z.number().min(0).default(defaults.p),
      c: z.number().min(0).default(0.01),
    })
    .prefault({});
export type Training = z.output<ReturnType<typeof trainingSchema>>;

const plain = {
  steps: 3000,
  batch: 512,
  learningRate: 1e-3,
  warmUp: 0,
  decay: 'none',
  b2: 0.999,
  emaDecay: 0.999,
  times: { mean: -0.4, std: 1 },
  p: 0,
} as const;

const tangentNames = Object.keys(wrongTangents) as [keyof typeof wrongTangents, ...(keyof typeof wrongTangents)[]];
const tangents = z.array(z.enum(tangentNames));
export type TangentName = keyof typeof wrongTangents;

const pointsSchema = (defaults: { width: number; depth: number; training: TrainingDefaults }) =>
  z
    .strictObject({
      width: count.default(defaults.width),
      depth: count.default(defaults.depth),
      training: trainingSchema(defaults.training),
      /** Wrong directions of the JVP; a network is trained with each of them, besides the right one. */
      tangents: tangents.default([]),
      /** Repetitions with other initial weights and draws. */
      repeats: count.default(1),
      samples: z.int().min(2).default(4096),
      manySteps: count.default(64),
    })
    .prefault({});
export type Points = z.output<ReturnType<typeof pointsSchema>>;

const imagesSchema = z
  .strictObject({
    ...imageSourceKeys({ data: 'shapes', glyphSize: 16, drawn: 50_000 }),
    network: z
      .strictObject({ patchSize: count.default(2), width: count.default(64), depth: count.default(3), heads: count.default(4) })
      .prefault({}),
    /** A U-Net in the place of the DiT. */
    unet: z
      .strictObject({
        channels: z.int().min(4).multipleOf(4).default(128),
        channelMult: z.array(count).min(1).default([2, 2, 2]),
        blocks: count.default(4),
        attentionResolutions: z.array(count).default([16]),
        dropout: z.number().min(0).lt(1).default(0.2),
        /** Whether images are augmented as in EDM and the network is told how. */
        augment: z.boolean().default(true),
      })
      .optional(),
    training: trainingSchema({ ...plain, batch: 64, b2: 0.95, p: 1 }),
    /** Probability of the null label. */
    classDrop: share.default(0.1),
    /** MeanFlow networks trained with guidance, beside the one without: scale ω and mixing κ each. */
    guidance: z.array(z.strictObject({ omega: z.number(), kappa: z.number().lt(1) })).default([]),
    tangents: tangents.default([]),
    classifier: z.strictObject(classifierKeys({ steps: 800 })).prefault({}),
    samples: z.int().min(2).default(4096),
    manySteps: count.default(32),
    /** Steps between two pictures of samples. */
    watch: count.default(500),
  })
  .superRefine(({ data, glyphs, network: { patchSize, width, heads } }, check) => {
    const refuse = (key: string, message: string): void => check.addIssue({ code: 'custom', path: ['network', key], message });
    const side = imageSide({ data, glyphs });
    if (side % patchSize !== 0) refuse('patchSize', `wanted a divisor of ${side}, the side of the images`);
    if (width % 4 !== 0) refuse('width', 'wanted a multiple of 4');
    if (width % heads !== 0) refuse('heads', `wanted a divisor of the width ${width}`);
  })
  .prefault({});
export type Images = z.output<typeof imagesSchema>;

/** The parts of the experiment, in the order in which they run. */
const partNames = ['gaussian', 'checkerboard', 'ring', 'images'] as const;

export const configSchema = z.strictObject({
  ...runKeys(partNames),
  /** One Gaussian, for which the exact answer is known. */
  gaussian: pointsSchema({
    width: 64,
    depth: 2,
    training: { ...plain, steps: 600, batch: 256, learningRate: 2e-3, decay: 'linear', emaDecay: 0, times: { mean: 0, std: 1.6 } },
  }),
  /** Two-dimensional densities; checkerboard and ring. */
  points: pointsSchema({ width: 128, depth: 3, training: plain }),
  images: imagesSchema,
});
export type Config = z.output<typeof configSchema>;
