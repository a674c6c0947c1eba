import { checkLike, isTensor, stopGradient, tf, type Tensor } from '@atelier/tensor';
import { masked, teacherError } from './objective.ts';
import type { Parameterization } from './parameterization.ts';

/**
 * Logits of a discriminator that is read off the fake score's own features: x_t as the network is handed it, the number it is told of the noise [B], condition
 * -> [B, …], any map of logits. It has no parameters of its own.
 */
export type Critic = (x: Tensor, t: Tensor, condition?: Tensor) => Tensor;

/** Logits of an encoder's features: the mean over channels, [B, h, w, C] -> [B, h, w] (SiDA). */
export function channelMean(features: Tensor): Tensor {
  return tf.mean(features, features.rank - 1);
}

/** Logits of tokens: the mean over the tokens, [B, T, C] -> [B, C] (SiD-DiT). */
export function tokenMean(tokens: Tensor): Tensor {
  return tf.mean(tokens, 1);
}

export type LogitOptions = {
  /** Cross-entropy as the mean over the whole `batch` and map (SiDA), the same number for all samples, or over each `sample`'s map (SiD-DiT). */
  reduction: 'batch' | 'sample';
  /** Whether logits are clamped to ±10, past which there is no gradient. */
  clamp: boolean;
};

const LIMIT = 10;

/**
 * Cross-entropy of logits [B, …] with "real" (target 1) or "generated" (0), reduced to [B]. Samples with a 0 in `kept` [B] count as 0; the divisor stays.
 */
export function crossEntropy(logits: Tensor, target: 0 | 1, { reduction, clamp }: LogitOptions, kept?: Tensor): Tensor {
  const B = logits.shape[0]!;
  const limited = clamp ? tf.clipByValue(logits, -LIMIT, LIMIT) : logits;
  // -log σ(l) = log(1 + e^-l).
  const all = tf.softplus(target === 1 ? tf.neg(limited) : limited);
  const each = kept === undefined ? all : masked(all, kept);
  if (reduction === 'batch') return tf.tile(tf.reshape(tf.mean(each), [1]), [B]);
  return tf.mean(tf.reshape(each, [B, -1]), 1); // [B, …] -> [B]
}

/** What the discriminator pays for each sample, [B]: the mean of both cross-entropies. */
export function discriminatorTerm(real: Tensor, fake: Tensor, options: LogitOptions, kept?: Tensor): Tensor {
  checkLike(fake, real, 'discriminatorTerm: fake');
  return tf.mul(tf.add(crossEntropy(real, 1, options, kept), crossEntropy(fake, 0, options, kept)), 0.5);
}

export type AdversarialOptions = {
  /** `batch`: SiDA, in which only the generator's logits are clamped; `sample`: SiD-DiT, in which all are. */
  reduction: LogitOptions['reduction'];
  /** Factor of the discriminator's loss: 1, or 100 with EDM2. */
  criticScale: number;
  /** Factor of the generator's adversarial loss: 0.01 in SiDA, 0.001 reported for Stable Diffusion. */
  generatorScale: number;
};

/** The published settings. */
export const adversarialSettings = {
  sida: { reduction: 'batch', criticScale: 1, generatorScale: 0.01 },
  sidDit: { reduction: 'sample', criticScale: 1, generatorScale: 1 },
} as const satisfies Record<string, AdversarialOptions>;

/**
 * The discriminator's loss L_D = (scale/B)·Σ_b c_b·term_b, with c = λ(σ) for EDM and the number of pixels d otherwise. `real` and `fake` are logits at the same
 * times and with the same noise. Samples with a 0 in `kept` [B] are left out, the divisor stays B.
 */
export function discriminatorLoss(
  logits: { real: Tensor; fake: Tensor },
  { t, pixels, kept }: { t: Tensor; pixels: number; kept?: Tensor },
  { parameterization, reduction, criticScale }: AdversarialOptions & { parameterization: Parameterization },
): { loss: Tensor; perSample: Tensor } {
  const term = discriminatorTerm(logits.real, logits.fake, { reduction, clamp: reduction === 'sample' }, kept);
  const weighted = tf.mul(term, parameterization.criticWeight(t, pixels));
  const perSample = kept === undefined ? weighted : masked(weighted, kept);
  return { loss: tf.mul(tf.sum(perSample), criticScale / t.shape[0]!), perSample };
}

/**
 * The generator's adversarial loss L_gan = (scale/B)·Σ_b d·CE(logits, real)·weight_b. The weight [B] is that of the generator's own loss (`GeneratorLoss.weight`), or
 * 1/w_b from the teacher's image. Samples with a 0 in `kept` [B] are left out, the divisor stays B.
 */
export function generatorAdversarialLoss(
  logits: Tensor,
  { x, weight, kept }: { x: Tensor; weight: Tensor | { teacher: Tensor }; kept?: Tensor },
  { reduction, generatorScale }: AdversarialOptions,
): { loss: Tensor; perSample: Tensor } {
  const [B, pixels] = [x.shape[0]!, x.size / x.shape[0]!];
  const factor = isTensor(weight) ? stopGradient(weight) : tf.reciprocal(teacherError(x, weight.teacher));
  const weighted = tf.mul(crossEntropy(logits, 1, { reduction, clamp: true }, kept), factor);
  const perSample = kept === undefined ? weighted : masked(weighted, kept);
  return { loss: tf.mul(tf.sum(perSample), (generatorScale * pixels) / B), perSample };
}
