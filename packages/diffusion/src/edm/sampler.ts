import { checkBatch, checkLike, checkNumber, checkOptions, compile, tf, type Tensor, type Tree } from '@atelier/tensor';
import { lastOf, type Sampler } from '../sampler.ts';

/** The denoiser as the sampler runs it: x [B, …], σ [B] and a model, the tree of whatever else it needs (weights, labels) -> [B, …]. */
export type EdmSamplerNetwork<Model extends Tree> = (x: Tensor, sigma: Tensor, model: Model) => Tensor;

export type EdmSamplerOptions = {
  /** S_churn: how much fresh noise a step adds, spread over the steps; 0 (the default) is the deterministic sampler. */
  churn?: number;
  /** Fresh noise is added at levels in [S_min, S_max] only; everywhere if absent. */
  churnMin?: number;
  churnMax?: number;
  /** S_noise: standard deviation of the fresh noise; 1 if absent, a little more makes up for detail that denoisers lose. */
  churnNoise?: number;
  /** `heun` (two evaluations a step but the last, the default) or `euler` (one). */
  method?: 'heun' | 'euler';
};

export type EdmSampleOptions = {
  /** Noise levels that strictly decrease to 0 (`karrasSigmas`). */
  sigmas: readonly number[];
  /** Standard normal noise [B, …] of step i, which the sampler disposes; wanted with churn alone. See `stepNoise`. */
  noise?: (i: number) => Tensor;
};

/** The level at which a step arrives, and the images there [B, …]. */
export type EdmStep = { sigma: number; x: Tensor };

/** Where a step goes: from σ, raised to σ̂ by noise of standard deviation `added`, to σ'. */
type Step = { raised: number; next: number; added: number };

/**
 * The stochastic sampler of EDM (algorithm 2, arXiv 2206.00364; NVlabs/edm generate.py:46): a step raises σ to σ̂ = σ + γσ by fresh noise,
 * γ = min(S_churn/N, √2 - 1) at levels inside [S_min, S_max], follows dx/dσ = (x - D(x, σ))/σ to the next level, and averages the slopes of both ends
 * unless it arrives at 0. It starts from standard normal noise [B, …]; its graphs serve every list of levels.
 */
export function edmSampler<Model extends Tree = Tree>(
  denoiser: EdmSamplerNetwork<Model>,
  options: EdmSamplerOptions = {},
): Sampler<Model, EdmSampleOptions, EdmStep> {
  const where = 'edmSampler';
  checkOptions(where, options, ['churn', 'churnMin', 'churnMax', 'churnNoise', 'method']);
  const { churn = 0, churnMin = 0, churnMax = Infinity, churnNoise = 1, method = 'heun' } = options;
  checkNumber(`${where}: churn`, churn, { min: 0 });
  checkNumber(`${where}: churnMin`, churnMin, { min: 0 });
  if (!(churnMax >= churnMin)) throw new Error(`${where}: churnMax: wanted at least ${churnMin}, got ${churnMax}`);
  checkNumber(`${where}: churnNoise`, churnNoise, { min: 0 });
  if (method !== 'heun' && method !== 'euler') throw new Error(`${where}: method: wanted 'heun' or 'euler', got '${String(method)}'`);

  type At = { raised: Tensor; next: Tensor; added: Tensor; z: readonly Tensor[] };
  const slope = (x: Tensor, sigma: Tensor, model: Model): Tensor => {
    const denoised = denoiser(x, tf.mul(tf.ones([x.shape[0]!]), sigma), model);
    checkLike(denoised, x, `${where}: output of the denoiser`);
    return tf.div(tf.sub(x, denoised), sigma);
  };
  const start = (x: Tensor, { added, z }: At): Tensor => (z.length === 0 ? x : tf.add(x, tf.mul(z[0]!, added)));
  const euler = compile(
    (x: Tensor, at: At, model: Model) => {
      const from = start(x, at);
      return tf.add(from, tf.mul(slope(from, at.raised, model), tf.sub(at.next, at.raised)));
    },
    { donate: [0, 1], name: `${where}: Euler` },
  );
  const heun = compile(
    (x: Tensor, at: At, model: Model) => {
      const from = start(x, at);
      const width = tf.sub(at.next, at.raised);
      const first = slope(from, at.raised, model);
      const second = slope(tf.add(from, tf.mul(first, width)), at.next, model);
      return tf.add(from, tf.mul(tf.add(first, second), tf.mul(width, 0.5)));
    },
    { donate: [0, 1], name: `${where}: Heun` },
  );

  const plan = (sigmas: readonly number[]): Step[] =>
    sigmas.slice(0, -1).map((sigma, i) => {
      const gamma = sigma >= churnMin && sigma <= churnMax ? Math.min(churn / (sigmas.length - 1), Math.SQRT2 - 1) : 0;
      const raised = sigma * (1 + gamma);
      return { raised, next: sigmas[i + 1]!, added: churnNoise * Math.sqrt(raised ** 2 - sigma ** 2) };
    });

  function* steps(model: Model, z: Tensor, { sigmas, noise }: EdmSampleOptions): Generator<EdmStep, void, void> {
    checkBatch(z, `${where}: noise`);
    checkSigmas(sigmas, where);
    if (churn > 0 && noise === undefined) throw new Error(`${where}: options.noise: wanted a function of the step, got none`);
    let x = tf.tidy(() => tf.mul(z, sigmas[0]!));
    try {
      for (const [i, { raised, next, added }] of plan(sigmas).entries()) {
        const fresh = churn > 0 ? [noise!(i)] : [];
        for (const drawn of fresh) checkLike(drawn, z, `${where}: options.noise`);
        const at = { raised: tf.scalar(raised), next: tf.scalar(next), added: tf.scalar(added), z: fresh };
        x = (method === 'euler' || next === 0 ? euler : heun)(x, at, model);
        yield { sigma: next, x: x.clone() };
      }
    } finally {
      x.dispose();
    }
  }

  return {
    sample: (model, z, given) => lastOf(steps(model, z, given)),
    steps,
    get graphs() {
      return euler.graphs + heun.graphs;
    },
    dispose() {
      euler.dispose();
      heun.dispose();
    },
  };
}

function checkSigmas(sigmas: readonly number[], where: string): void {
  const good =
    sigmas.length >= 2 && sigmas.at(-1) === 0 && sigmas.every((s, i) => Number.isFinite(s) && s >= 0 && (i === 0 || s < sigmas[i - 1]!));
  if (!good)
    throw new Error(`${where}: sigmas: wanted at least two strictly decreasing levels with 0 at the end, got [${sigmas.join(', ')}]`);
}
