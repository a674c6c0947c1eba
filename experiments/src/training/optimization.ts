import { constant, cosine, emaWarmUp, linearDecay, warmUp, type Schedule } from '@atelier/nn';
import { z } from 'zod';

const count = z.int().min(1);

/**
 * The keys that set how a network is optimized. Each key has its own default, so a preset or a `key=value` that sets one key does not change the others.
 */
export const optimizationKeys = (defaults: {
  steps: number;
  batch: number;
  learningRate: number;
  warmUp: number;
  decay: 'none' | 'linear' | 'cosine';
  emaDecay: number;
}) => ({
  steps: count.default(defaults.steps),
  batch: count.default(defaults.batch),
  learningRate: z.number().positive().default(defaults.learningRate),
  /** Steps in which the rate rises from 0. */
  warmUp: z.int().min(0).default(defaults.warmUp),
  /** How the rate falls to 0 over the steps after that: in a straight line, along half a cosine, or not at all. */
  decay: z.enum(['none', 'linear', 'cosine']).default(defaults.decay),
  /** Decay min(emaDecay, (i + 1) / (i + 10)) of the moving average of the weights. The average is evaluated; with 0 the last weights are evaluated. */
  emaDecay: z.number().min(0).lt(1).default(defaults.emaDecay),
});
export type Optimization = z.output<z.ZodObject<ReturnType<typeof optimizationKeys>>>;

/** The schedules that these keys describe. */
export function schedulesOf({ learningRate, steps, warmUp: first, decay, emaDecay }: Optimization): {
  learningRate: Schedule;
  emaDecay: Schedule;
} {
  const rest = Math.max(1, steps - first);
  const then = { none: constant(learningRate), linear: linearDecay(learningRate, rest), cosine: cosine(learningRate, rest) }[decay];
  return { learningRate: warmUp(first, then), emaDecay: emaDecay === 0 ? constant(0) : emaWarmUp(emaDecay) };
}
