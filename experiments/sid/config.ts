import { z } from 'zod';
import { imageSide, imageSourceKeys } from '../src/data/images.ts';
import { classifierKeys } from '../src/evaluation/classifier.ts';
import { optimizationKeys } from '../src/training/optimization.ts';
import { runKeys } from '../src/runner/run-keys.ts';

const count = z.int().min(1);
const share = z.number().min(0).max(1);

/** How a distillation is trained; all variants of a part share it. */
const distillKeys = (defaults: { steps: number; batch: number; fakeRate: number; generatorRate: number; halfLife: number }) => ({
  steps: count.default(defaults.steps),
  batch: count.default(defaults.batch),
  fakeRate: z.number().positive().default(defaults.fakeRate),
  generatorRate: z.number().positive().default(defaults.generatorRate),
  /** Half-life of the generator's average in samples, reached by a ramp of 5 % of the samples seen. */
  halfLife: z.number().min(0).default(defaults.halfLife),
});
const distillSchema = (defaults: Parameters<typeof distillKeys>[0]) => z.strictObject(distillKeys(defaults)).prefault({});
export type DistillSettings = z.output<ReturnType<typeof distillSchema>>;

const pointsSchema = z
  .strictObject({
    densities: z.array(z.enum(['ring8', 'check'])).default(['ring8', 'check']),
    width: count.default(128),
    depth: count.default(3),
    teacher: z
      .strictObject(optimizationKeys({ steps: 4000, batch: 512, learningRate: 2e-3, warmUp: 0, decay: 'linear', emaDecay: 0.999 }))
      .prefault({}),
    distill: distillSchema({ steps: 1000, batch: 256, fakeRate: 5e-4, generatorRate: 2e-4, halfLife: 50_000 }),
    /** Numbers of steps of the generator; each is one distillation. */
    steps: z.array(count).min(1).default([1, 2, 4]),
    /** α beside 1, in one step on the ring alone. */
    alphas: z.array(z.number()).default([0.5, 1.2]),
    /** Whether the ring is also distilled with the gradient of distribution matching, in one step and in the most. */
    baseline: z.boolean().default(true),
    /** Whether α = 2, which diverges, is run on the ring, for 300 iterations. */
    unstable: z.boolean().default(true),
    /** Iterations after which the samples are scored, beside the last one. */
    watch: z.array(count).default([100, 300]),
    repeats: count.default(3),
    samples: z.int().min(2).default(8192),
    teacherSteps: count.default(50),
  })
  .prefault({});
export type Points = z.output<typeof pointsSchema>;

/** The settings of guidance that the toy compares: the published ones, and none, with the adversarial term where it says `gan`. */
const guidanceNames = ['none', 'lsg-2', 'lsg-4.5', 'long-4.5', 'zero', 'anti', 'zero-gan', 'none-gan'] as const;

const guidanceSchema = z
  .strictObject({
    /** Standard deviation of the eight modes, whose classes alternate and overlap. */
    std: z.number().positive().default(0.35),
    variants: z
      .array(z.enum(guidanceNames))
      .min(1)
      .default([...guidanceNames]),
    width: count.default(128),
    depth: count.default(3),
    teacher: z
      .strictObject(optimizationKeys({ steps: 4000, batch: 512, learningRate: 2e-3, warmUp: 0, decay: 'linear', emaDecay: 0.999 }))
      .prefault({}),
    distill: distillSchema({ steps: 800, batch: 256, fakeRate: 5e-4, generatorRate: 2e-4, halfLife: 50_000 }),
    repeats: count.default(3),
    samples: z.int().min(2).default(8192),
  })
  .prefault({});
export type GuidanceToy = z.output<typeof guidanceSchema>;

/** How an image student is distilled. */
export const studentNames = ['none', 'none-gan', 'lsg', 'zero', 'zero-gan', 'anti', 'anti-gan'] as const;
export type StudentName = (typeof studentNames)[number];

const imagesSchema = z
  .strictObject({
    ...imageSourceKeys({ data: 'glyphs', glyphSize: 16, drawn: 20_000 }),
    network: z
      .strictObject({
        channels: z.int().min(4).multipleOf(4).default(32),
        channelMult: z.array(count).min(1).default([1, 2]),
        blocks: count.default(1),
        attentionResolutions: z.array(count).default([]),
      })
      .prefault({}),
    teacher: z
      .strictObject(optimizationKeys({ steps: 4000, batch: 64, learningRate: 1e-3, warmUp: 100, decay: 'cosine', emaDecay: 0.999 }))
      .prefault({}),
    /** Probability that the teacher is trained without the class. */
    classDrop: share.default(0.1),
    distill: distillSchema({ steps: 1500, batch: 64, fakeRate: 2e-4, generatorRate: 1e-4, halfLife: 20_000 }),
    /** Numbers of steps of the students without guidance. */
    steps: z.array(count).min(1).default([1, 2, 4]),
    /** Kinds of students, each in the last number of steps; `none` in all. */
    students: z
      .array(z.enum(studentNames))
      .min(1)
      .default([...studentNames]),
    /** Scale κ of `lsg`. */
    scale: z.number().default(1.5),
    classifier: z.strictObject(classifierKeys({ steps: 800 })).prefault({}),
    samples: z.int().min(2).default(2048),
    teacherSteps: count.default(50),
  })
  .superRefine(({ data, glyphs, network: { channelMult } }, check) => {
    const factor = 2 ** (channelMult.length - 1);
    if (imageSide({ data, glyphs }) % factor !== 0)
      check.addIssue({
        code: 'custom',
        path: ['network', 'channelMult'],
        message: `wanted levels that halve a side of ${imageSide({ data, glyphs })}`,
      });
  })
  .prefault({});
export type Images = z.output<typeof imagesSchema>;

/** The parts of the experiment, in the order in which they run. */
const partNames = ['points', 'guidance', 'images'] as const;

export const configSchema = z.strictObject({
  ...runKeys(partNames, ['points', 'guidance']),
  points: pointsSchema,
  guidance: guidanceSchema,
  images: imagesSchema,
});
export type Config = z.output<typeof configSchema>;
