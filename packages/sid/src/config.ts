import { parseConfig } from '@atelier/tensor';
import { z } from 'zod';

/** α in which the mean gradient leads to the data, from the theory (0.5 to 1) and what has been published (up to 1.2). */
export const STABLE_ALPHA = { min: 0.5, max: 1.2 } as const;

/**
 * Weight of a sample's generator loss: 1 over the mean error of the teacher against x_g, without gradient (`teacher-error`, SiD's), 1, or for flow
 * matching a function of the time t (names in apple/ml-sid-dit: 1_minus_sigma, …; denominators are at least 10⁻⁵).
 */
export const weightingNames = ['teacher-error', 'one', '1-t', '(1-t)^2', '1/t', '1/t^2', 'snr^1/2', 'snr'] as const;
export type Weighting = (typeof weightingNames)[number];

export const matchingConfig = z
  .strictObject({
    /** α of the loss: 1.2 for CIFAR-10, FFHQ and ImageNet-64, 1 for all later work. */
    alpha: z.number().default(1),
    /** Lets α leave [0.5, 1.2], outside of which training is known to diverge. */
    allowUnstableAlpha: z.boolean().default(false),
    weighting: z.enum(weightingNames).default('teacher-error'),
    /**
     * `full` is SiD's: through the bare x_g and through the inputs of teacher and fake score. `direct` takes what these two say as constants, so that the gradient at
     * x_g is -weight·Δ whatever α is: the baseline of distribution matching (DMD, arXiv 2311.18828).
     */
    gradient: z.enum(['full', 'direct']).default('full'),
    /** Factor of the loss; 100 with EDM and flow matching, 1 with Stable Diffusion. Under Adam it counts against ε and other losses alone. */
    scale: z.number().positive().default(1),
  })
  .superRefine(({ alpha, allowUnstableAlpha }, context) => {
    if (allowUnstableAlpha || (alpha >= STABLE_ALPHA.min && alpha <= STABLE_ALPHA.max)) return;
    context.addIssue({
      code: 'custom',
      path: ['alpha'],
      message: `wanted ${STABLE_ALPHA.min} to ${STABLE_ALPHA.max}, in which training is known to be stable, or allowUnstableAlpha, got ${alpha}`,
    });
  });
export type MatchingOptions = z.input<typeof matchingConfig>;
export type MatchingConfig = z.output<typeof matchingConfig>;

/** Settings with their defaults. @throws Error naming the setting that does not fit */
export function parseMatching(options: MatchingOptions, where: string): MatchingConfig {
  return parseConfig(matchingConfig, options, where);
}
