import { z } from 'zod';
import { streamNames, streamSide } from '../src/data/image-stream.ts';

const count = z.int().min(1);

/** `jacobi-10` is one segment of ten iterations for every block; the rest is the paper's notation, `top` the block inverted first. */
const strategyName = z.string().regex(/^(jacobi-\d+|\[[^\]]+\])$/, 'wanted jacobi-<iterations> or [stack-segments-iterations-else]');

export const configSchema = z
  .strictObject({
    seed: z.int().min(0).default(0),
    /** `train` trains the network; `stored` takes Model A as it was trained for the parity tests (1500 steps). */
    weights: z.enum(['train', 'stored']).default('train'),
    /** Discs and boxes are drawn; the others are read from ATELIER_DATA, or downloaded. */
    data: z.enum(streamNames).default('discs'),
    /** Side of drawn images. */
    side: count.default(16),
    network: z
      .strictObject({
        patchSize: count.default(2),
        width: count.default(32),
        headSize: count.default(16),
        blocks: z.int().min(2).default(4),
        layers: count.default(2),
      })
      .prefault({}),
    training: z
      .strictObject({
        steps: z.int().min(2).default(1500),
        batch: count.default(64),
        learningRate: z.number().positive().default(2e-3),
        /** Share of the steps in which the rate rises. */
        warmUp: z.number().min(0).max(0.5).default(0.05),
        /** σ_n of the noise on the images, which denoising takes out again. */
        sigma: z.number().positive().default(0.1),
        /** Probability of the null label. */
        labelDrop: z.number().min(0).max(1).default(0.1),
        /** Steps between two pictures of samples. */
        watch: count.default(500),
      })
      .prefault({}),
    /** Clean images that CRM and IGM are means over. */
    metricImages: z.int().min(2).default(1000),
    /** Jacobi iterations of every block until its change is at most `tolerance`, for both published guesses. */
    iterations: z.strictObject({ batch: count.default(16), tolerance: z.number().min(0).default(1e-6) }).prefault({}),
    /** Strategies against the sequential samples: without a tolerance, all blocks starting from their noise. */
    strategies: z
      .strictObject({
        batch: count.default(32),
        names: z
          .array(strategyName)
          .default(['jacobi-10', 'jacobi-15', 'jacobi-30', '[top-2-16-10]', '[top-8-8-10]', '[top-2-8-5]', '[0-2-8-5]']),
      })
      .prefault({}),
    /** The planner, asked for this root mean square error of the worst image; planned on so many samples, and held against as many others. */
    planner: z.strictObject({ rmse: z.number().positive().default(1e-3), pilots: z.int().min(8).default(16) }).prefault({}),
    /** Batches for which strategies are timed, where the planner is measured as well; none times nothing. */
    timing: z.array(count).default([1, 16]),
    /** Seconds between two checkpoints of the network in training. */
    checkpointSeconds: z.number().min(0).default(30),
  })
  .superRefine(({ weights, data, side, network: { patchSize, width, headSize } }, check) => {
    const refuse = (path: string[], message: string): void => check.addIssue({ code: 'custom', path, message });
    const pixels = streamSide(data, side);
    if (pixels % patchSize !== 0) refuse(['network', 'patchSize'], `wanted a divisor of ${pixels}, the side of the images`);
    if (width % headSize !== 0) refuse(['network', 'headSize'], `wanted a divisor of the width ${width}`);
    if (weights === 'stored' && data !== 'discs')
      refuse(['weights'], `wanted 'train' for ${data}: the stored network draws discs and boxes`);
  });
export type Config = z.output<typeof configSchema>;
