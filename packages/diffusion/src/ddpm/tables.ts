import { checkNumber } from '@atelier/tensor';

/**
 * The numbers of a diffusion process. Each list has one entry per step, from k = 0 (least noise) to steps-1 (most). Float64 on the host, float32 when used.
 *
 * ᾱ_k = Π_{s≤k} (1 - β_s), ᾱ_{-1} = 1.
 */
export type DiffusionTables = {
  readonly steps: number;
  /** The time that the network gets at step k: k itself or, in a respaced process, the step of the original process. */
  readonly timesteps: Int32Array;
  /** β */
  readonly betas: Float64Array;
  /** ᾱ_k */
  readonly alphaBar: Float64Array;
  /** ᾱ_{k-1} */
  readonly alphaBarPrevious: Float64Array;
  /** √ᾱ and √(1 - ᾱ): x_k = √ᾱ·x₀ + √(1 - ᾱ)·ε. */
  readonly sqrtAlphaBar: Float64Array;
  readonly sqrtOneMinusAlphaBar: Float64Array;
  /** √(1/ᾱ) and √(1/ᾱ - 1): x₀ = √(1/ᾱ)·x_k - √(1/ᾱ - 1)·ε. */
  readonly sqrtRecipAlphaBar: Float64Array;
  readonly sqrtRecipAlphaBarMinusOne: Float64Array;
  /** c¹ and c² of the posterior mean c¹·x₀ + c²·x_k. */
  readonly posteriorMeanX0: Float64Array;
  readonly posteriorMeanXk: Float64Array;
  /** β̃, the posterior variance; 0 at k = 0. */
  readonly posteriorVariance: Float64Array;
  /** log β̃. At k = 0, where β̃₀ = 0, it is log β̃₁ (log β₀ if there is only one step). */
  readonly posteriorLogVariance: Float64Array;
};

/**
 * Computes all tables of a process from its variances β (facebookresearch/DiT diffusion/gaussian_diffusion.py:153):
 * c¹ = β√ᾱ_{k-1}/(1 - ᾱ_k), c² = (1 - ᾱ_{k-1})√α_k/(1 - ᾱ_k), β̃ = β(1 - ᾱ_{k-1})/(1 - ᾱ_k).
 *
 * @param betas each between 0 and 1, both excluded
 * @param timesteps the time that the network gets at each step; 0, 1, 2, … if absent
 */
export function diffusionTables(betas: ArrayLike<number>, timesteps?: ArrayLike<number>): DiffusionTables {
  const steps = betas?.length;
  checkNumber('diffusionTables: betas: length', steps, { integer: true, min: 1 });
  for (let k = 0; k < steps; k++) checkNumber(`diffusionTables: betas: step ${k}`, betas[k]!, { above: 0, below: 1 });
  if (timesteps !== undefined && timesteps.length !== steps)
    throw new Error(`diffusionTables: timesteps: wanted ${steps} of them, one for each beta, got ${timesteps.length}`);
  const of = (f: (k: number) => number): Float64Array => Float64Array.from({ length: steps }, (_, k) => f(k));

  const beta = Float64Array.from(betas);
  const alphaBar = new Float64Array(steps);
  beta.forEach((b, k) => (alphaBar[k] = (k === 0 ? 1 : alphaBar[k - 1]!) * (1 - b)));
  const previous = of((k) => (k === 0 ? 1 : alphaBar[k - 1]!));
  const posteriorVariance = of((k) => (beta[k]! * (1 - previous[k]!)) / (1 - alphaBar[k]!));
  const firstVariance = steps > 1 ? posteriorVariance[1]! : beta[0]!;
  return {
    steps,
    timesteps: Int32Array.from({ length: steps }, (_, k) => timesteps?.[k] ?? k),
    betas: beta,
    alphaBar,
    alphaBarPrevious: previous,
    sqrtAlphaBar: alphaBar.map(Math.sqrt),
    sqrtOneMinusAlphaBar: of((k) => Math.sqrt(1 - alphaBar[k]!)),
    sqrtRecipAlphaBar: of((k) => Math.sqrt(1 / alphaBar[k]!)),
    sqrtRecipAlphaBarMinusOne: of((k) => Math.sqrt(1 / alphaBar[k]! - 1)),
    posteriorMeanX0: of((k) => (beta[k]! * Math.sqrt(previous[k]!)) / (1 - alphaBar[k]!)),
    posteriorMeanXk: of((k) => ((1 - previous[k]!) * Math.sqrt(1 - beta[k]!)) / (1 - alphaBar[k]!)),
    posteriorVariance,
    posteriorLogVariance: of((k) => Math.log(k === 0 ? firstVariance : posteriorVariance[k]!)),
  };
}
