import { z } from 'zod';

/** Settings of the denoiser. */
export const denoiserConfig = z.strictObject({
  /** Coordinates of a point, D. */
  dimension: z.int().min(1).default(2),
  /** Standard deviations σ_0 < σ_1 < … of the noise; the last one should dwarf the data. */
  sigmas: z
    .array(z.number().positive())
    .min(1)
    .refine((sigmas) => sigmas.every((sigma, k) => k === 0 || sigma > sigmas[k - 1]!), 'wanted sigmas that rise')
    .default([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4]),
});
export type DenoiserConfig = z.output<typeof denoiserConfig>;
export type DenoiserSettings = z.input<typeof denoiserConfig>;
