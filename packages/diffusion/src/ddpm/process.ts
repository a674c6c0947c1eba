import { checkLike, checkPair, dims, type Tensor, tf } from '@atelier/tensor';
import { gatherCoefficients, type Coefficients, type Columns } from './coefficients.ts';
import type { DiffusionTables } from './tables.ts';

/**
 * Where the variance of a reverse step comes from. `learned`: the second half v of the output says where log σ² lies between log β̃ (v = -1) and log β (v = 1),
 * and the training loss has a variational term. `small`: σ² = β̃. `large`: σ² = β, but β̃₁ at the last step. With `small` and `large` the output has C channels.
 */
export type Variance = 'learned' | 'small' | 'large';

export function checkVariance(variance: Variance, where: string): void {
  if (variance !== 'learned' && variance !== 'small' && variance !== 'large')
    throw new Error(`${where}: variance: wanted 'learned', 'small' or 'large', got ${String(variance)}`);
}

type ForwardName = 'sqrtAlphaBar' | 'sqrtOneMinusAlphaBar';
type PosteriorName =
  | 'sqrtRecipAlphaBar'
  | 'sqrtRecipAlphaBarMinusOne'
  | 'posteriorMeanX0'
  | 'posteriorMeanXk'
  | 'logBeta'
  | 'posteriorLogVariance'
  | 'largeLogVariance';
export type PosteriorCoefficients = Coefficients<PosteriorName>;

/** The numbers of each step that `reversePosterior` needs. */
export function posteriorColumns(tables: DiffusionTables): Columns<PosteriorName> {
  const { sqrtRecipAlphaBar, sqrtRecipAlphaBarMinusOne, posteriorMeanX0, posteriorMeanXk, posteriorLogVariance } = tables;
  const logBeta = tables.betas.map(Math.log);
  const largeLogVariance = logBeta.map((value, k) => (k === 0 ? posteriorLogVariance[0]! : value));
  return {
    sqrtRecipAlphaBar,
    sqrtRecipAlphaBarMinusOne,
    posteriorMeanX0,
    posteriorMeanXk,
    logBeta,
    posteriorLogVariance,
    largeLogVariance,
  };
}

/**
 * The forward process: x_k = √ᾱ_k·x₀ + √(1 - ᾱ_k)·ε.
 *
 * @param x0 data [B, …]
 * @param noise ε, standard normal [B, …]
 * @param k step of each sample, [B] int32 in 0 … steps-1 (steps-1 is the noisiest; 0 has had one noising step)
 */
export function diffuse(tables: DiffusionTables, x0: Tensor, noise: Tensor, k: Tensor): Tensor {
  checkPair(x0, noise, 'diffuse', ['x0', 'noise']);
  checkSteps(k, x0, 'diffuse');
  return tf.tidy(() => {
    const { sqrtAlphaBar, sqrtOneMinusAlphaBar } = tables;
    const c: Coefficients<ForwardName> = gatherCoefficients({ sqrtAlphaBar, sqrtOneMinusAlphaBar }, k, x0);
    return tf.add(tf.mul(c.sqrtAlphaBar, x0), tf.mul(c.sqrtOneMinusAlphaBar, noise));
  });
}

/** Splits the output of the network for x [B, …, C] into ε̂ and v: [B, …, 2C] with a learned variance, else [B, …, C] without v. */
export function splitOutput(output: Tensor, x: Tensor, variance: Variance, where: string): { epsilon: Tensor; v?: Tensor } {
  checkVariance(variance, where);
  if (variance !== 'learned') {
    checkLike(output, x, `${where}: output of the network`);
    return { epsilon: output };
  }
  const C = x.shape.at(-1)!;
  const wanted = [...x.shape.slice(0, -1), 2 * C];
  if (!(output instanceof tf.Tensor) || output.shape.join() !== wanted.join())
    throw new Error(
      `${where}: output of the network: wanted shape [${wanted.join(', ')}] (ε̂ and v), got ${output instanceof tf.Tensor ? `[${output.shape.join(', ')}]` : typeof output}`,
    );
  const [epsilon, v] = tf.split(output, 2, x.rank - 1);
  return { epsilon: epsilon!, v: v! };
}

/** x̂₀ = √(1/ᾱ)·x - √(1/ᾱ - 1)·ε̂, clipped to [-1, 1] if asked. */
export function predictX0(
  epsilon: Tensor,
  x: Tensor,
  c: Coefficients<'sqrtRecipAlphaBar' | 'sqrtRecipAlphaBarMinusOne'>,
  clip: boolean,
): Tensor {
  const x0 = tf.sub(tf.mul(c.sqrtRecipAlphaBar, x), tf.mul(c.sqrtRecipAlphaBarMinusOne, epsilon));
  return clip ? tf.clipByValue(x0, -1, 1) : x0;
}

/** Mean c¹·x₀ + c²·x of the posterior q(x_{k-1} | x_k, x₀). */
export function posteriorMean(x0: Tensor, x: Tensor, c: Coefficients<'posteriorMeanX0' | 'posteriorMeanXk'>): Tensor {
  return tf.add(tf.mul(c.posteriorMeanX0, x0), tf.mul(c.posteriorMeanXk, x));
}

/**
 * The Gaussian p(x_{k-1} | x_k) that the network's output describes (facebookresearch/DiT diffusion/gaussian_diffusion.py:253): mean c¹·x̂₀ + c²·x,
 * and log σ² = (v + 1)/2·log β + (1 - v)/2·log β̃ with v not clipped, or a fixed log σ².
 */
export function reversePosterior(
  { epsilon, v }: { epsilon: Tensor; v?: Tensor },
  x: Tensor,
  c: PosteriorCoefficients,
  { variance, clip }: { variance: Variance; clip: boolean },
): { mean: Tensor; logVariance: Tensor; x0: Tensor } {
  const x0 = predictX0(epsilon, x, c, clip);
  const fixed = variance === 'large' ? c.largeLogVariance : c.posteriorLogVariance;
  return { mean: posteriorMean(x0, x, c), logVariance: v === undefined ? fixed : between(v, c), x0 };
}

function between(v: Tensor, c: PosteriorCoefficients): Tensor {
  const share = tf.div(tf.add(v, 1), 2);
  return tf.add(tf.mul(share, c.logBeta), tf.mul(tf.sub(1, share), c.posteriorLogVariance));
}

/** Throws unless k [B] int32 holds one step index per sample of x. */
export function checkSteps(k: Tensor, x: Tensor, where: string): void {
  dims(k, 'B', `${where}: k`, { B: x.shape[0]! });
  if (k.dtype !== 'int32') throw new Error(`${where}: k: wanted int32 steps, got ${k.dtype}`);
}
