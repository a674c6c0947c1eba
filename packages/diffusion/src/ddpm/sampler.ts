import { checkBatch, checkLike, checkNumber, checkOptions, compile, type Rng, type Tensor, tf, type Tree } from '@atelier/tensor';
import { coefficientsAt, type Coefficients, type Columns } from './coefficients.ts';
import { checkVariance, posteriorColumns, predictX0, reversePosterior, splitOutput, type Variance } from './process.ts';
import type { Sampler } from '../sampler.ts';
import type { DiffusionTables } from './tables.ts';

/**
 * The network as the sampler calls it: with x [B, …, C], t [B] float32 (the time of the original process, equal for all samples) and a tree of its other
 * inputs (weights, labels). It returns [B, …, C], or [B, …, 2C] with a learned variance. Tensors that it closes over become constants of the graph.
 */
export type SamplerNetwork<Context extends Tree> = (x: Tensor, t: Tensor, context: Context) => Tensor;

export type ReverseOptions = {
  variance: Variance;
  /** Whether x̂₀ is clipped to [-1, 1]; false if absent. Use it for data in that range, not for latents. */
  clip?: boolean;
};

/** The state of a sampler after a step: x_{k-1} and the x̂₀ that it was computed from, [B, …, C]. */
export type ReverseStep = { sample: Tensor; x0: Tensor };

export type SampleOptions = {
  /** The process, respaced as a rule. One graph serves every step of every table. */
  tables: DiffusionTables;
  /**
   * Standard normal noise [B, …, C] for each step of the loop, from i = 0 (the noisiest) to steps-2; see `stepNoise`. The sampler disposes it. The last step
   * uses no noise, and DDIM with η = 0 uses none in any step.
   */
  noise?: (i: number) => Tensor;
};

/**
 * Draws samples by the reverse process. It starts from standard normal noise x [B, …, C] at the noisiest step of the tables. `model` is the
 * network's third argument (an empty list for a network that takes none). In `steps`, k counts down to 0.
 */
export type DiffusionSampler<Context extends Tree> = Sampler<Context, SampleOptions, ReverseStep & { k: number }>;

/** Noise for a sampler. Each step draws from its own child stream. */
export function stepNoise(rng: Rng, shape: readonly number[]): (i: number) => Tensor {
  return (i) => rng.child(i).normal(shape);
}

/** Ancestral sampling (arXiv 2006.11239; facebookresearch/DiT diffusion/gaussian_diffusion.py:376): x ← μ + [k ≠ 0]·e^(½ log σ²)·z. */
export function ddpmSampler<Context extends Tree = Tree>(
  network: SamplerNetwork<Context>,
  options: ReverseOptions,
): DiffusionSampler<Context> {
  const where = 'ddpmSampler';
  const { variance, clip } = reverseOptions(options, where);
  return makeSampler(where, network, {
    noisy: true,
    columns: (tables) => ({ ...posteriorColumns(tables), noiseShare: tables.betas.map((_, k) => (k === 0 ? 0 : 1)) }),
    step: (output, x, c, z) => {
      const { mean, logVariance, x0 } = reversePosterior(splitOutput(output, x, variance, where), x, c, { variance, clip });
      return { sample: tf.add(mean, tf.mul(tf.mul(tf.exp(tf.mul(logVariance, 0.5)), c.noiseShare), z)), x0 };
    },
  });
}

/**
 * DDIM (arXiv 2010.02502; facebookresearch/DiT diffusion/gaussian_diffusion.py:513): with σ = η·√((1 - ᾱ_{k-1})/(1 - ᾱ_k))·√(1 - ᾱ_k/ᾱ_{k-1}) and ε̂
 * computed again from x̂₀,
 * x ← √ᾱ_{k-1}·x̂₀ + √(1 - ᾱ_{k-1} - σ²)·ε̂ + σ·z.
 *
 * @param options.eta η in [0, 1], 0 (no noise) if absent; 1 is ancestral sampling with σ² = β̃. The network's own variance is not used.
 */
export function ddimSampler<Context extends Tree = Tree>(
  network: SamplerNetwork<Context>,
  options: ReverseOptions & { eta?: number },
): DiffusionSampler<Context> {
  const where = 'ddimSampler';
  const { eta = 0, ...rest } = options;
  checkNumber(`${where}: eta`, eta, { min: 0, max: 1 });
  const { variance, clip } = reverseOptions(rest, where);
  return makeSampler(where, network, {
    noisy: eta > 0,
    columns: (tables) => ddimColumns(tables, eta),
    step: (output, x, c, z) => {
      const x0 = predictX0(splitOutput(output, x, variance, where).epsilon, x, c, clip);
      const epsilon = tf.div(tf.sub(tf.mul(c.sqrtRecipAlphaBar, x), x0), c.sqrtRecipAlphaBarMinusOne);
      const sample = tf.add(tf.mul(c.x0Share, x0), tf.mul(c.epsilonShare, epsilon));
      return { sample: eta > 0 ? tf.add(sample, tf.mul(c.sigma, z)) : sample, x0 };
    },
  });
}

function ddimColumns(tables: DiffusionTables, eta: number) {
  const { alphaBar, alphaBarPrevious, sqrtRecipAlphaBar, sqrtRecipAlphaBarMinusOne } = tables;
  // 1 - ᾱ_k/ᾱ_{k-1} is β_k.
  const sigma = alphaBar.map((bar, k) => eta * Math.sqrt(((1 - alphaBarPrevious[k]!) / (1 - bar)) * tables.betas[k]!));
  return {
    sqrtRecipAlphaBar,
    sqrtRecipAlphaBarMinusOne,
    x0Share: alphaBarPrevious.map(Math.sqrt),
    epsilonShare: alphaBarPrevious.map((previous, k) => Math.sqrt(Math.max(0, 1 - previous - sigma[k]! ** 2))),
    sigma,
  };
}

/** One reverse step as a pure function. `noisy`: whether the step takes noise z (in the last step z is zeros). */
type Rule<Name extends string> = {
  noisy: boolean;
  columns: (tables: DiffusionTables) => Columns<Name>;
  step: (output: Tensor, x: Tensor, c: Coefficients<Name>, z: Tensor) => ReverseStep;
};

function makeSampler<Context extends Tree, Name extends string>(
  where: string,
  network: SamplerNetwork<Context>,
  rule: Rule<Name>,
): DiffusionSampler<Context> {
  type At = { t: Tensor; c: Coefficients<Name>; z: readonly Tensor[] };
  const run = (x: Tensor, { t, c, z }: At, context: Context): ReverseStep => rule.step(network(x, t, context), x, c, z[0] ?? x);
  // `sample` returns only the samples, so its graph does not return x̂₀ at every step.
  const brief = compile((x: Tensor, at: At, context: Context) => run(x, at, context).sample, { donate: [0, 1], name: where });
  const full = compile(run, { donate: [0, 1], name: where });

  function* walk<Result>(
    context: Context,
    x: Tensor,
    options: SampleOptions,
    take: (x: Tensor, at: At, context: Context) => Result,
    next: (result: Result) => Tensor,
  ): Generator<{ k: number; result: Result }, void, void> {
    checkOptions(`${where}.sample`, options, ['tables', 'noise']);
    const { tables, noise } = options;
    checkBatch(x, `${where}: x`);
    if (rule.noisy && noise === undefined && tables.steps > 1) throw new Error(`${where}: noise: wanted a function of the step, got none`);
    const columns = rule.columns(tables);
    let current = x.clone();
    try {
      for (let k = tables.steps - 1; k >= 0; k--) {
        const z = rule.noisy ? [k === 0 ? tf.zerosLike(x) : noise!(tables.steps - 1 - k)] : [];
        const at = { t: tf.fill([x.shape[0]!], tables.timesteps[k]!), c: coefficientsAt(columns, k), z };
        let result: Result;
        try {
          for (const drawn of z) checkLike(drawn, x, `${where}: noise`);
          result = take(current, at, context);
        } finally {
          tf.dispose(at as never);
        }
        // The caller may dispose these tensors before it asks for the next step.
        current = next(result).clone();
        yield { k, result };
      }
    } finally {
      current.dispose();
    }
  }

  return {
    sample(context, x, options) {
      let sample = x;
      for (const { k, result } of walk(context, x, options, brief, (made) => made)) {
        sample = result;
        if (k > 0) sample.dispose();
      }
      return sample;
    },
    *steps(context, x, options) {
      for (const { k, result } of walk(context, x, options, full, (step) => step.sample)) yield { k, ...result };
    },
    get graphs() {
      return brief.graphs + full.graphs;
    },
    dispose() {
      brief.dispose();
      full.dispose();
    },
  };
}

function reverseOptions(options: ReverseOptions, where: string): { variance: Variance; clip: boolean } {
  checkOptions(where, options, ['variance', 'clip']);
  const { variance, clip = false } = options;
  checkVariance(variance, where);
  if (typeof clip !== 'boolean') throw new Error(`${where}: clip: wanted true or false, got ${String(clip)}`);
  return { variance, clip };
}
