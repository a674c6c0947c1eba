import { checkNumber, dims, perSample, type Rng, tf, type Tensor } from '@atelier/tensor';
import {
  diffusionTables,
  edmCoefficients,
  edmDenoised,
  edmWeight,
  karrasSigma,
  lognormalSigma,
  SIGMA_DATA,
  type KarrasOptions,
} from '@atelier/diffusion';

/** What times are drawn for: fitting the fake score (or a teacher) to samples, or matching it to the teacher. */
export type TimeUse = 'fit' | 'match';

/**
 * How a network's output stands for a clean image. Noise is added as x_t = a_t·x₀ + s_t·ε; every method works on the clean image D that follows from the output,
 * so one loss serves all of them.
 */
export type Parameterization = {
  readonly name: 'edm' | 'epsilon' | 'velocity' | 'flow';
  /** a_t and s_t [B] at times [B]. */
  path(t: Tensor): { signal: Tensor; noise: Tensor };
  /** What the network is handed for x_t [B, …] and times [B]: an image and numbers [B]. */
  input(x: Tensor, t: Tensor): { x: Tensor; t: Tensor };
  /** The clean image D [B, …] that the output stands for. */
  denoised(output: Tensor, x: Tensor, t: Tensor): Tensor;
  /** Squared error [B, …] of the output against what it should be for x_t = a·x₀ + s·e, with the weight that the official code fits it with. */
  error(output: Tensor, at: { x0: Tensor; e: Tensor; x: Tensor; t: Tensor }): Tensor;
  /** Weight [B] of a discriminator's loss at the times, for images of so many pixels: λ(σ) of EDM, the number of pixels of the others. */
  criticWeight(t: Tensor, pixels: number): Tensor;
  /** Times for a batch, [B]. */
  drawTimes(rng: Rng, batch: number, use: TimeUse): Tensor;
  /** The times τ_1 > … > τ_K of a chain of K steps. @throws Error where so many do not fit */
  levels(steps: number): number[];
  /** One time for a whole batch, as `path` and `input` take it. */
  timeOf(level: number, batch: number): Tensor;
};

/** Noises an image: x_t = a_t·x + s_t·e, all [B, …] but t [B]. */
export function addNoise(parameterization: Parameterization, x: Tensor, e: Tensor, t: Tensor): Tensor {
  const { signal, noise } = parameterization.path(t);
  return tf.add(tf.mul(perSample(signal, x), x), tf.mul(perSample(noise, e), e));
}

export type EdmOptions = {
  sigmaData?: number;
  /** Level of the first step; 2.5 as published. */
  sigmaInit?: number;
  /** Law of ln σ when the fake score is fitted; -1.2 and 1.2 as published. */
  mean?: number;
  std?: number;
  /** How far up the range of the levels for matching goes, in thousandths (t_max); 800, which reaches 24.4. */
  end?: number;
} & KarrasOptions;

/** EDM: a = 1, s = t = σ, D = c_skip·x + c_out·F(c_in·x, ln(σ)/4). The network is told ln(σ)/4 and handed c_in·x. */
export function edmParameterization(options: EdmOptions = {}): Parameterization {
  const { sigmaData = SIGMA_DATA, sigmaInit = 2.5, mean = -1.2, std = 1.2, end = 800, ...range } = options;
  checkNumber('edmParameterization: sigmaInit', sigmaInit, { above: 0 });
  checkNumber('edmParameterization: end', end, { above: 0, max: 1000 });
  const denoised = (output: Tensor, x: Tensor, t: Tensor): Tensor => edmDenoised(output, x, t, sigmaData);
  return {
    name: 'edm',
    path: (t) => ({ signal: tf.onesLike(t), noise: t }),
    input: (x, t) => {
      const c = edmCoefficients(t, sigmaData);
      return { x: tf.mul(perSample(c.in, x), x), t: c.noise };
    },
    denoised,
    error: (output, { x0, x, t }) => tf.mul(perSample(edmWeight(t, sigmaData), x), tf.square(tf.sub(denoised(output, x, t), x0))),
    criticWeight: (t) => edmWeight(t, sigmaData),
    drawTimes: (rng, batch, use) =>
      tf.tidy(() =>
        use === 'fit' ? lognormalSigma(rng.normal([batch]), { mean, std }) : matchingSigma(rng.uniform([batch]), { ...range, end }),
      ),
    levels: (steps) => {
      if (steps === 1) return [sigmaInit];
      // No few-step run on EDM's levels is published; these are Stable Diffusion's in units of the signal, from the same first level.
      const { alphaBar } = stableDiffusionTables();
      const ratios = discreteLevels(steps, 625).map((t) => Math.sqrt((1 - alphaBar[t]!) / alphaBar[t]!));
      return ratios.map((ratio) => (ratio * sigmaInit) / ratios[0]!);
    },
    timeOf: (level, batch) => tf.fill([batch], level),
  };
}

/** Levels for matching in EDM from uniforms u [B]: [σ_min^(1/ρ) + u·(end/1000)·(σ_max^(1/ρ) - σ_min^(1/ρ))]^ρ, [B] -> [B]. */
export function matchingSigma(u: Tensor, { end = 800, ...range }: Pick<EdmOptions, 'end' | keyof KarrasOptions> = {}): Tensor {
  checkNumber('matchingSigma: end', end, { above: 0, max: 1000 });
  return tf.tidy(() => karrasSigma(tf.mul(u, end / 1000), range));
}

export type DiscreteOptions = {
  /** ᾱ_t, t = 0 … T-1; Stable Diffusion's if absent. */
  alphaBar?: ArrayLike<number>;
  /** Time of the first step, 625 if absent. */
  start?: number;
  /** Times are drawn from first … last, both included; 20 … 979 if absent. */
  first?: number;
  last?: number;
};

/** ε-prediction at discrete times (Stable Diffusion 1.5 and XL): D = (x - s·ε̂)/a, a = √ᾱ, s = √(1 - ᾱ). Times are int32. */
export function epsilonParameterization(options: DiscreteOptions = {}): Parameterization {
  return discrete('epsilon', options, {
    denoised: (output, x, { signal, noise }) => tf.div(tf.sub(x, tf.mul(noise, output)), signal),
    error: (output, { e }) => tf.square(tf.sub(output, e)),
  });
}

/**
 * v-prediction at discrete times (Stable Diffusion 2.1): v = a·ε - s·x₀, D = a·x - s·v̂. The error has the weight snr/(snr + 1) = a² of each sample, with which it
 * is the one of ε. (The official code multiplies by a vector [B] that broadcasts over columns, right for one image alone.)
 */
export function velocityParameterization(options: DiscreteOptions = {}): Parameterization {
  return discrete('velocity', options, {
    denoised: (output, x, { signal, noise }) => tf.sub(tf.mul(signal, x), tf.mul(noise, output)),
    error: (output, { x0, e, signal, noise }) => {
      const target = tf.sub(tf.mul(signal, e), tf.mul(noise, x0));
      return tf.mul(tf.square(signal), tf.square(tf.sub(output, target)));
    },
  });
}

export type FlowOptions = {
  /** Time of the first step in thousandths, 999 if absent, which is t = 1. */
  start?: number;
  /** Law of the times, sigmoid(std·n + mean); ln 2 and 1.6 if absent. */
  mean?: number;
  std?: number;
};

/** Flow matching: x_t = (1 - t)·x₀ + t·ε for t in (0, 1], the network gives v = ε - x₀, D = x_t - t·v̂. */
export function flowParameterization({ start = 999, mean = Math.LN2, std = 1.6 }: FlowOptions = {}): Parameterization {
  checkNumber('flowParameterization: start', start, { above: 0, max: 999 });
  checkNumber('flowParameterization: std', std, { above: 0 });
  return {
    name: 'flow',
    path: (t) => ({ signal: tf.sub(1, t), noise: t }),
    input: (x, t) => ({ x, t }),
    denoised: (output, x, t) => tf.sub(x, tf.mul(perSample(t, x), output)),
    error: (output, { x0, e }) => tf.square(tf.sub(output, tf.sub(e, x0))),
    criticWeight: (t, pixels) => tf.fill([t.shape[0]!], pixels),
    drawTimes: (rng, batch) => tf.tidy(() => tf.sigmoid(tf.add(tf.mul(rng.normal([batch]), std), mean))),
    levels: (steps) => {
      checkNumber('levels: steps', steps, { integer: true, min: 1 });
      return Array.from({ length: steps }, (_, i) => (start / 999) * (1 - i / steps));
    },
    timeOf: (level, batch) => tf.fill([batch], level),
  };
}

/** √β in a straight line from √0.00085 to √0.012 over 1000 steps, as Stable Diffusion has it. */
export function stableDiffusionTables() {
  const [first, last] = [Math.sqrt(0.00085), Math.sqrt(0.012)];
  return diffusionTables(Array.from({ length: 1000 }, (_, t) => (first + ((last - first) * t) / 999) ** 2));
}

/** Discrete times ⌊start·(1 - (i - 1)/K)⌋ for i = 1 … K. @throws Error unless they are different and above 0 */
export function discreteLevels(steps: number, start: number): number[] {
  checkNumber('levels: steps', steps, { integer: true, min: 1 });
  const levels = Array.from({ length: steps }, (_, i) => Math.trunc(start * (1 - i / steps)));
  if (levels.some((level, i) => level < 1 || (i > 0 && level >= levels[i - 1]!)))
    throw new Error(`levels: steps: wanted at most ${start}, so that all times differ, got ${steps}`);
  return levels;
}

type Factors = { signal: Tensor; noise: Tensor };

function discrete(
  name: 'epsilon' | 'velocity',
  { alphaBar = stableDiffusionTables().alphaBar, start = 625, first = 20, last = 979 }: DiscreteOptions,
  rule: {
    denoised: (output: Tensor, x: Tensor, at: Factors) => Tensor;
    error: (output: Tensor, at: Factors & { x0: Tensor; e: Tensor }) => Tensor;
  },
): Parameterization {
  const where = `${name}Parameterization`;
  const T = alphaBar.length;
  checkNumber(`${where}: start`, start, { integer: true, min: 1, below: T });
  checkNumber(`${where}: last`, last, { integer: true, min: 0, below: T });
  checkNumber(`${where}: first`, first, { integer: true, min: 0, max: last });
  const column = (f: (bar: number) => number): Float32Array => Float32Array.from({ length: T }, (_, t) => f(alphaBar[t]!));
  const [signals, noises] = [column(Math.sqrt), column((bar) => Math.sqrt(1 - bar))];
  const path = (t: Tensor): Factors => {
    dims(t, 'B', `${where}: t`);
    if (t.dtype !== 'int32') throw new Error(`${where}: t: wanted int32 times, got ${t.dtype}`);
    return { signal: tf.gather(tf.tensor1d(signals), t), noise: tf.gather(tf.tensor1d(noises), t) };
  };
  const factors = (x: Tensor, t: Tensor): Factors => {
    const { signal, noise } = path(t);
    return { signal: perSample(signal, x), noise: perSample(noise, x) };
  };
  return {
    name,
    path,
    input: (x, t) => ({ x, t: tf.cast(t, 'float32') }),
    denoised: (output, x, t) => rule.denoised(output, x, factors(x, t)),
    error: (output, { x0, e, x, t }) => rule.error(output, { x0, e, ...factors(x, t) }),
    criticWeight: (t, pixels) => tf.fill([t.shape[0]!], pixels),
    drawTimes: (rng, batch) => tf.tensor1d(rng.integers(batch, first, last + 1), 'int32'),
    levels: (steps) => discreteLevels(steps, start),
    timeOf: (level, batch) => tf.fill([batch], level, 'int32'),
  };
}
