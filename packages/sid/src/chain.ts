import { checkBatch, checkLike, perSample, stopGradient, tf, type Tensor } from '@atelier/tensor';
import { guidedDenoised, type Condition, type SidNetwork } from './guidance.ts';
import type { Parameterization } from './parameterization.ts';

/**
 * The noise n_i of a step: `fresh` normal noise (the default), `fixed`, the first one again, or `ddim`, what the step before takes for noise in its input,
 * n_i = (y_{i-1} - a·x^(i-1))/s.
 */
export type ChainNoise = 'fresh' | 'fixed' | 'ddim';

const kinds: readonly ChainNoise[] = ['fresh', 'fixed', 'ddim'];

/** Throws unless the kind of noise is known. */
export function checkNoise(noise: ChainNoise, where: string): void {
  if (!kinds.includes(noise))
    throw new Error(`${where}: noise: wanted ${kinds.map((kind) => `'${kind}'`).join(', ')}, got '${String(noise)}'`);
}

export type ChainOptions = {
  parameterization: Parameterization;
  /** τ_1 > … > τ_K, spaced for all K steps (`parameterization.levels(K)`); a shorter chain is cut off, never spaced anew. */
  levels: readonly number[];
  noise?: ChainNoise;
  condition?: Condition;
  /** Guidance of the network, 1 (none) if absent: the generator has none. */
  kappa?: number;
  /** Whether a gradient goes through the `last` call alone (the default), as uniform matching has it, or through the `whole` chain. */
  gradient?: 'last' | 'whole';
};

/** The k-th output x^(k) of a chain is `outputs.at(-1)`; `inputs` are the noised images y_1 … y_k that the network was called with. */
export type Chain = { outputs: Tensor[]; inputs: Tensor[] };

/**
 * Generates in few steps: x^(0) = 0; y_i = a·sg[x^(i-1)] + s·n_i, x^(i) = D(y_i, τ_i), with a, s at τ_i and sg the stop of the gradient.
 *
 * The first input is s·z and not z: 0.93·z for Stable Diffusion's t = 625, 2.5·z for EDM.
 * @param noises z first, then the fresh noise of each further step, all [B, …]; for the other kinds of noise z alone
 * @param steps k, how many of the K steps are taken; all if absent
 */
export function fewStepChain(network: SidNetwork, noises: readonly Tensor[], options: ChainOptions, steps?: number): Chain {
  const where = 'fewStepChain';
  const { parameterization, levels, noise = 'fresh', condition, kappa = 1, gradient = 'last' } = options;
  checkNoise(noise, where);
  const k = steps ?? levels.length;
  if (!Number.isInteger(k) || k < 1 || k > levels.length)
    throw new Error(`${where}: steps: wanted 1 to ${levels.length}, for which there are levels, got ${k}`);
  const wanted = noise === 'fresh' ? k : 1;
  if (noises.length !== wanted)
    throw new Error(`${where}: noises: wanted ${wanted} for ${k} steps of ${noise} noise, got ${noises.length}`);
  const z = noises[0]!;
  checkBatch(z, `${where}: noises: 0`);
  noises.forEach((n, i) => checkLike(n, z, `${where}: noises: ${i}`));
  const B = z.shape[0]!;
  const chain: Chain = { outputs: [], inputs: [] };
  for (let i = 0; i < k; i++) {
    const t = parameterization.timeOf(levels[i]!, B);
    const y = i === 0 ? startOf(parameterization, z, t) : nextInput(i, t);
    chain.inputs.push(y);
    chain.outputs.push(guidedDenoised(network, parameterization, { x: y, t, ...(condition && { condition }) }, kappa, where));
  }
  return chain;

  function nextInput(i: number, t: Tensor): Tensor {
    const cut = (x: Tensor): Tensor => (gradient === 'last' ? stopGradient(x) : x);
    const [x, previous] = [cut(chain.outputs[i - 1]!), cut(chain.inputs[i - 1]!)];
    const { signal, noise: strength } = parameterization.path(t);
    const fresh =
      noise === 'ddim' ? stopGradient(noiseIn(parameterization, previous, x, levels[i - 1]!)) : noises[noise === 'fresh' ? i : 0]!;
    return tf.add(tf.mul(perSample(signal, x), x), tf.mul(perSample(strength, x), fresh));
  }
}

function startOf(parameterization: Parameterization, z: Tensor, t: Tensor): Tensor {
  return tf.mul(perSample(parameterization.path(t).noise, z), z);
}

/** (y - a·x)/s: what is noise in y if x is the image in it. */
function noiseIn(parameterization: Parameterization, y: Tensor, x: Tensor, level: number): Tensor {
  const { signal, noise } = parameterization.path(parameterization.timeOf(level, y.shape[0]!));
  return tf.div(tf.sub(y, tf.mul(perSample(signal, x), x)), perSample(noise, x));
}
