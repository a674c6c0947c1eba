import { timeDistribution, type WeightConfig } from '@atelier/diffusion';
import { z } from 'zod';

const share = z.number().min(0).max(1);
const pair = { t: timeDistribution, r: timeDistribution };

/**
 * How (t, r) are drawn. The two official codes use the same number for opposite shares: 0.75 of the rows have r = t (ImageNet code, JAX), and 0.75
 * have r < t (CIFAR-10 code, PyTorch). So there are two names here: `equalShare` is the share of rows with r = t (`data_proportion` in JAX),
 * `movingShare` the probability of r != t (`ratio` in PyTorch).
 */
export const timeSamplerConfig = z.discriminatedUnion('rule', [
  z.strictObject({ rule: z.literal('prefix'), ...pair, equalShare: share }),
  z.strictObject({ rule: z.literal('bernoulli'), ...pair, movingShare: share }),
  z.strictObject({ rule: z.literal('separate'), ...pair, movingShare: share }),
]);
export type TimeSamplerConfig = z.infer<typeof timeSamplerConfig>;

const logitNormal = (mean: number, std: number) => ({ kind: 'logit-normal' as const, mean, std });

/** The three published samplers. */
export const timeSamplers = {
  imagenet: { rule: 'prefix', t: logitNormal(-0.4, 1), r: logitNormal(-0.4, 1), equalShare: 0.75 },
  cifar: { rule: 'bernoulli', t: logitNormal(-2, 2), r: logitNormal(-2, 2), movingShare: 0.75 },
  cifarImproved: { rule: 'separate', t: logitNormal(-0.6, 1.6), r: logitNormal(-4, 1.6), movingShare: 0.75 },
} as const satisfies Record<string, TimeSamplerConfig>;

/** The adaptive weight of the official codes. */
export const weights = {
  imagenet: { p: 1, c: 0.01 },
  cifar: { p: 0.75, c: 0.001 },
  none: { p: 0, c: 0.001 },
} as const satisfies Record<string, WeightConfig>;

/**
 * Guidance during training: ω (`omega`) is the weight of e - x, κ (`kappa`) that of the conditional prediction; the effective scale is ω' = ω/(1 - κ).
 * Outside `interval` (inclusive at both ends, in t) there is no guidance.
 */
export const guidanceConfig = z.strictObject({
  omega: z.number(),
  kappa: z.number().refine((kappa) => kappa !== 1, 'wanted a kappa other than 1, for which the effective scale ω/(1 - κ) is not defined'),
  interval: z
    .tuple([z.number(), z.number()])
    .refine(([start, end]) => start <= end, 'wanted start <= end')
    .default([0, 1]),
});
export type GuidanceConfig = z.infer<typeof guidanceConfig>;
export type GuidanceOptions = z.input<typeof guidanceConfig>;

/** Class dropout: `prefix` is the official rule (it counts the draws below `probability` and drops that many rows from the top); `row` decides row by row. */
export const classDropConfig = z.strictObject({ probability: share, rule: z.enum(['prefix', 'row']) });
export type ClassDropConfig = z.infer<typeof classDropConfig>;
