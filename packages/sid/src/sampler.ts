import { lastOf, type Sampler } from '@atelier/diffusion';
import { checkBatch, checkNumber, compile, tf, type Tensor, type Tree } from '@atelier/tensor';
import { checkNoise, type ChainNoise } from './chain.ts';
import { guidedDenoised, type Condition, type SidNetwork } from './guidance.ts';
import type { Parameterization } from './parameterization.ts';

export type SidSamplerOptions = {
  parameterization: Parameterization;
  /** `fresh` for a generator (the default), `ddim` for a teacher, whose deterministic sampler it is. */
  noise?: ChainNoise;
  /** Guidance, 1 (none) if absent. A generator has none. */
  kappa?: number;
};

export type SidSampleOptions = {
  /** Levels τ_1 > … > τ_K of the chain. */
  levels: readonly number[];
  condition?: Condition;
  /** Fresh standard normal noise [B, …] of step i = 1 … K-1, which the sampler disposes; wanted with `fresh` noise and more than one step. See `stepNoise`. */
  noise?: (i: number) => Tensor;
};

/** The level of a step, and its output x^(k) [B, …]. */
export type SidStep = { level: number; x: Tensor };

/**
 * A sampler for networks of one architecture: from standard normal noise [B, …] along the generator's chain, or a teacher's deterministic (DDIM) one. One
 * graph serves every list of levels.
 */
export function sidSampler<P extends Tree>(
  network: (params: P) => SidNetwork,
  options: SidSamplerOptions,
): Sampler<P, SidSampleOptions, SidStep> {
  const where = 'sidSampler';
  const { parameterization, noise = 'fresh', kappa = 1 } = options;
  checkNoise(noise, where);
  checkNumber(`${where}: kappa`, kappa);
  type Factors = { signal: Tensor; noise: Tensor };
  // The input of a step is y = a·x + s·n; for DDIM n = (y' - a'x)/s' with the input y' of the step before.
  const step = compile(
    (at: { x: Tensor; n: Tensor; t: Tensor; now: Factors; before: Factors }, condition: readonly Tensor[], params: P) => {
      const { x, n, t, now, before } = at;
      const fresh = noise === 'ddim' ? tf.div(tf.sub(n, tf.mul(before.signal, x)), before.noise) : n;
      const y = tf.add(tf.mul(now.signal, x), tf.mul(now.noise, fresh));
      const asked = condition.length === 0 ? {} : { condition: { given: condition[0]!, none: condition[1]! } };
      return { y, x: guidedDenoised(network(params), parameterization, { x: y, t, ...asked }, kappa, where) };
    },
    { donate: [0], name: where },
  );
  const factorsAt = (level: number | undefined): Factors => {
    if (level === undefined) return { signal: tf.scalar(0), noise: tf.scalar(1) };
    return tf.tidy(() => {
      const { signal, noise: strength } = parameterization.path(parameterization.timeOf(level, 1));
      return { signal: tf.reshape(signal, []), noise: tf.reshape(strength, []) };
    });
  };

  function* steps(params: P, z: Tensor, { levels, condition, noise: draw }: SidSampleOptions): Generator<SidStep, void, void> {
    checkBatch(z, `${where}: noise`);
    checkLevels(levels, where);
    if (noise === 'fresh' && levels.length > 1 && draw === undefined)
      throw new Error(`${where}: options.noise: wanted a function of the step, got none`);
    const asked = condition === undefined ? [] : [condition.given, condition.none];
    let x = tf.zerosLike(z);
    // Before the first step x is 0, a' = 0 and s' = 1, so that DDIM's noise is z itself.
    let y = z.clone();
    try {
      for (const [i, level] of levels.entries()) {
        const n = noise === 'ddim' ? y : i > 0 && noise === 'fresh' ? draw!(i) : z.clone();
        const at = { x, n, t: parameterization.timeOf(level, z.shape[0]!), now: factorsAt(level), before: factorsAt(levels[i - 1]) };
        const next = step(at, asked, params);
        if (noise !== 'ddim') y.dispose();
        [x, y] = [next.x, next.y];
        yield { level, x: x.clone() };
      }
    } finally {
      x.dispose();
      y.dispose();
    }
  }

  return {
    sample: (params, z, given) => lastOf(steps(params, z, given)),
    steps,
    get graphs() {
      return step.graphs;
    },
    dispose: () => step.dispose(),
  };
}

/** Throws unless there is a level and each is below the one before. */
function checkLevels(levels: readonly number[], where: string): void {
  const good = levels.length > 0 && levels.every((level, i) => Number.isFinite(level) && level > 0 && (i === 0 || level < levels[i - 1]!));
  if (!good) throw new Error(`${where}: levels: wanted one or more, falling and above 0, got [${levels.join(', ')}]`);
}
