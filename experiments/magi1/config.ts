import { guidanceConfig } from '@atelier/magi1';
import { movingGlyphOptions } from '@atelier/datasets/node';
import { z } from 'zod';
import { classifierKeys } from '../src/evaluation/classifier.ts';
import { runKeys } from '../src/runner/run-keys.ts';
import { optimizationKeys } from '../src/training/optimization.ts';

const count = z.int().min(1);

/** Settings of the network, except those that follow from the data. */
const networkKeys = (defaults: { layers: number; width: number; patch: [number, number] }) => ({
  layers: count.default(defaults.layers),
  width: count.default(defaults.width),
  heads: count.default(4),
  kvHeads: count.default(2),
  headDim: count.default(16),
  /** Height and width of a patch in pixels. */
  patch: z.tuple([count, count]).default(defaults.patch),
});

const videoKeys = (defaults: { chunks: number; steps: number }) => ({
  /** n, chunks of a clip; c, frames of a chunk. */
  chunks: count.default(defaults.chunks),
  chunkFrames: count.default(2),
  /** W, chunks denoised at a time; S, denoising steps of a chunk. */
  window: count.default(4),
  steps: count.default(defaults.steps),
});

/** Drawn strips: a bump that walks along a strip and is reflected at its ends. It is narrow or wide, and this class is the prompt. */
const stripSchema = z
  .strictObject({
    ...networkKeys({ layers: 2, width: 48, patch: [2, 8] }),
    ...videoKeys({ chunks: 6, steps: 16 }),
    training: z
      .strictObject(optimizationKeys({ steps: 1200, batch: 32, learningRate: 6e-3, warmUp: 30, decay: 'cosine', emaDecay: 0.99 }))
      .prefault({}),
    /** Repetitions with other initial weights and batches (seeds). */
    repeats: count.default(3),
    /** Networks to train: with the times of sampling (`window`), and the same without gradients through clean chunks (`detached`). */
    variants: z
      .array(z.enum(['window', 'detached']))
      .min(1)
      .default(['window', 'detached']),
    /** How many clips are continued and compared with the true ones (`judged`); how many frames of each are given (`given`). */
    judged: count.default(128),
    given: count.default(4),
    /** KV ranges of training: how many chunks a chunk sees, including itself; 0 is all before it. Clips are divided equally among them (after `aloneShare`). */
    trained: z.array(z.int().min(0)).min(1).default([0, 2, 3]),
    /** KV ranges of sampling that are compared. */
    histories: z.array(count).min(1).default([1, 2, 3, 6]),
    /** w_prev of the strong guidance that is tested. */
    strong: z.number().min(1).default(3),
    /** Steps of shortcut distillation; 0 for none. */
    distillation: z.strictObject({ steps: z.int().min(0).default(300), learningRate: z.number().positive().default(1e-3) }).prefault({}),
  })
  .prefault({});
export type Strip = z.output<typeof stripSchema>;

/** Moving letters; the class is the prompt. */
const glyphsSchema = z
  .strictObject({
    ...networkKeys({ layers: 4, width: 128, patch: [4, 4] }),
    ...videoKeys({ chunks: 4, steps: 16 }),
    data: movingGlyphOptions.prefault({ characters: 'AOT', scale: [0.6, 0.6], rotation: 0, speed: [0.05, 0.09] }),
    clips: count.default(3000),
    training: z
      .strictObject(optimizationKeys({ steps: 4000, batch: 8, learningRate: 2e-3, warmUp: 50, decay: 'cosine', emaDecay: 0.995 }))
      .prefault({}),
    guidance: guidanceConfig.prefault({ edges: [0, 0.3], previous: [1, 1], text: [3, 3] }),
    /** R of sampling: how many chunks a chunk sees, in each quarter of its steps. */
    history: z.array(count).default([5, 4, 3, 2]),
    classifier: z.strictObject(classifierKeys({ steps: 200 })).prefault({}),
    /** `videos` of each class; chunks of the video whose prompt is switched in the middle (`switched`); chunks of the long `stream`. */
    videos: count.default(4),
    switched: count.default(12),
    stream: count.default(64),
  })
  .prefault({});
export type Glyphs = z.output<typeof glyphsSchema>;

const partNames = ['strip', 'glyphs', 'stream'] as const;

export const configSchema = z.strictObject({
  ...runKeys(partNames, ['strip', 'glyphs', 'stream']),
  strip: stripSchema,
  /** Also the network of the part `stream`. */
  glyphs: glyphsSchema,
});
export type Config = z.output<typeof configSchema>;
