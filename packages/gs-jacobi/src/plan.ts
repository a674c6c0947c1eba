import { tf } from '@atelier/tensor';
import type { GuidanceConfig } from '@atelier/tarflow';
import { everywhere, type Strategy } from './strategy.ts';
import type { Trial } from './trials.ts';

/** What a plan was made for. Elsewhere its speed is not known, and with other guidance its error is not known either. */
export type PlanConditions = {
  /** B, samples drawn at a time. */
  batch: number;
  /** Name of the TensorFlow.js engine. */
  engine: string;
  /** The machine in words, as the caller of the planner calls it. */
  machine: string;
  /** Whether there were labels, and the guidance. */
  labelled: boolean;
  guidance?: GuidanceConfig;
};

/** What the planner found on the samples that it was given. */
export type PlanMeasurements = {
  samples: number;
  /** Root mean square error of the images against the sequential ones: of the worst sample, and of all together. */
  worst: number;
  rmse: number;
  /** Medians of whole batches in ms, and the lower quartile and the median of sequentialMs / ms over the pairs; ratios are 1 without pairs. */
  ms: number;
  sequentialMs: number;
  speedUp: { lowerQuartile: number; median: number };
};

export type Plan = {
  /** 'sequential' where nothing that keeps the goal was faster; then `strategy` is token by token in every block. */
  method: 'gs-jacobi' | 'sequential';
  /** Why, in a sentence. */
  reason: string;
  strategy: Strategy;
  /** Options of the sampler that the strategy was measured with. */
  options: { tolerance: number; unroll: number };
  madeFor: PlanConditions;
  measured: PlanMeasurements;
  /**
   * How the largest changes of the strategy were found, in the order of sampling: an error of the image is estimated as
   * factor · √(Σ (amplification · change)²) over the blocks, which is within the goal as long as no change exceeds its largest one.
   * Absent where only a time was asked for, and for sequential plans.
   */
  estimate?: { amplification: number[]; factor: number };
  /** Everything tried, in the order of sampling, and by how much an error of the block's output grows at most up to the image. */
  blocks: { block: number; trials: Trial[]; growth: number }[];
};

/**
 * How a plan is followed for a batch: as it says where it was made for such batches, else token by token, which is exact; then `warning` says
 * why.
 */
export function followPlan(
  plan: Plan,
  now: Omit<PlanConditions, 'machine' | 'engine'>,
): Pick<Plan, 'strategy' | 'options'> & { warning?: string } {
  const { madeFor, strategy, options } = plan;
  const inWords = ({ batch, engine, labelled, guidance }: Omit<PlanConditions, 'machine'>): string =>
    `batches of ${batch} on ${engine}, ${labelled ? 'with' : 'without'} labels, ${guidance === undefined ? 'no guidance' : `guidance ${JSON.stringify(guidance)}`}`;
  const [made, wanted] = [inWords(madeFor), inWords({ ...now, engine: tf.getBackend() })];
  if (made === wanted) return { strategy, options };
  return {
    strategy: everywhere(strategy.length, { method: 'sequential' }),
    options,
    warning: `the plan was made for ${made}; ${wanted} were drawn token by token`,
  };
}
