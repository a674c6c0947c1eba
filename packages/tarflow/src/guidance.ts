import { parseConfig, type Tensor, tf } from '@atelier/tensor';
import { z } from 'zod';
import { tokenContext, type BlockParams } from './block.ts';
import type { TarFlowConfig } from './config.ts';

/**
 * Guidance of a sampler: α ← α_c + g(α_c - α_u), μ ← μ_c + g(μ_c - μ_u), where branch c has the label and branch u the null class, and
 * both read the guided tokens.
 */
export const guidanceConfig = z.strictObject({
  /** w; 0 means no guidance. */
  weight: z.number().min(0),
  /** Whether g grows along the tokens: g_i = w·(i + 1)/(T - 1) for the step that makes token i + 1. If not, g = w. */
  annealed: z.boolean().default(false),
  /** Which of log-scale α (`a`) and shift μ (`b`) is guided. (encoreus/GS-Jacobi_for_TarFlow calls the shift `c`.) */
  what: z.enum(['a', 'b', 'ab']).default('ab'),
  /** τ of the attention, only in branch u (official `attn_temp`). */
  temperature: z.number().positive().default(1),
});
export type GuidanceConfig = z.output<typeof guidanceConfig>;
export type GuidanceOptions = z.input<typeof guidanceConfig>;

/** Guidance of one block, as tensors, so that other numbers do not need another graph. */
export type Guidance = {
  /** The result of `tokenContext` without labels [1, T, W]. */
  context: Tensor;
  /** g for α and for μ at every position before the shift by one [T - 1, 2]. */
  weights: Tensor;
  /** 1/τ, a scalar. */
  inverseTemperature: Tensor;
};

/** The settings with defaults, or null if they have no effect (no settings, or weight 0). */
export function readGuidance(options: GuidanceOptions | undefined, where: string): GuidanceConfig | null {
  if (options === undefined) return null;
  const guidance = parseConfig(guidanceConfig, options, `${where}: guidance`);
  return guidance.weight === 0 ? null : guidance;
}

/** g for α and μ: [T - 1, 2]. */
export function guidanceWeights({ weight, annealed, what }: GuidanceConfig, T: number): Tensor {
  const n = T - 1;
  const values = new Float32Array(2 * n);
  for (let i = 0; i < n; i++) {
    const g = annealed ? (weight * (i + 1)) / n : weight;
    values[2 * i] = what.includes('a') ? g : 0;
    values[2 * i + 1] = what.includes('b') ? g : 0;
  }
  return tf.tensor2d(values, [n, 2]);
}

/** Guidance of block k. */
export function blockGuidance(p: BlockParams, k: number, guidance: GuidanceConfig, T: number): Guidance {
  return {
    context: tokenContext(p, k),
    weights: guidanceWeights(guidance, T),
    inverseTemperature: tf.scalar(1 / guidance.temperature),
  };
}

/** Sentences about settings that have no effect. The caller shows them. */
export function guidanceWarnings(guidance: GuidanceConfig | null, labelled: boolean, config: TarFlowConfig): string[] {
  if (guidance === null || labelled || guidance.temperature !== 1) return [];
  const reason = config.numClasses === 0 ? 'the model has no classes' : 'there are no labels';
  return [`guidance ${guidance.weight} has no effect: ${reason} and the attention temperature is 1, so both branches are the same`];
}
