import { checkLike, checkPair, dims, perSample, stopGradient, tf, type Tensor } from '@atelier/tensor';
import { parseMatching, type MatchingOptions, type Weighting } from './config.ts';
import { checkGuidance, guidedDenoised, guidedOutput, type Condition, type GuidanceScales, type SidNetwork } from './guidance.ts';
import { addNoise, type Parameterization } from './parameterization.ts';

/** A batch for either loss: images x and standard normal noise e [B, …], times t [B], conditions where the network takes them. */
export type SidBatch = { x: Tensor; e: Tensor; t: Tensor; condition?: Condition };

/** `loss` is a scalar with gradient, `perElement` [B, …] what is summed for it, before the scale; `kept` [B] is 0 for samples that were left out. */
export type FakeScoreLoss = { loss: Tensor; perElement: Tensor; kept: Tensor };

/**
 * Fits a denoiser to images by ordinary denoising: the fake score ψ to the generator's samples, or a teacher to data. (scale/B)·Σ over all pixels of the
 * parameterization's error at x_t = a·x + s·e, under guidance κ1. No gradient goes to x. Samples with a NaN in x or in D are left out, the divisor stays B. A NaN in
 * x does not reach the gradients either; one that the network itself makes does.
 */
export function fakeScoreLoss(
  network: SidNetwork,
  batch: SidBatch,
  { parameterization, kappa = 1, scale = 1 }: { parameterization: Parameterization; kappa?: number; scale?: number },
): FakeScoreLoss {
  const where = 'fakeScoreLoss';
  checkSidBatch(batch, where);
  return tf.tidy(() => {
    const { e, t, condition } = batch;
    // The network sees zeros in place of a NaN: behind it, 0·NaN would make every gradient NaN.
    const finite = withoutNaN([batch.x]);
    const x0 = masked(stopGradient(batch.x), finite);
    const x = addNoise(parameterization, x0, e, t);
    const output = guidedOutput(network, parameterization, { x, t, ...(condition && { condition }) }, kappa, where);
    const kept = tf.mul(finite, withoutNaN([output]));
    const perElement = masked(parameterization.error(output, { x0, e, x, t }), kept);
    return { loss: tf.mul(tf.sum(perElement), scale / x0.shape[0]!), perElement, kept };
  });
}

export type GeneratorLossOptions = MatchingOptions & { parameterization: Parameterization; guidance: GuidanceScales };

/** Everything that the generator's loss is made of. `x` of the batch carries the gradient to the generator. */
export type GeneratorLoss = {
  /** Scalar, with gradient. Its value says nothing of progress: with the optimal fake score its mean is 0 for α = 1, whatever the generator does. */
  loss: Tensor;
  /** [B, …], before the scale. */
  perElement: Tensor;
  /** x_t [B, …]. */
  noised: Tensor;
  /** f_r, the teacher's clean image, and f_f, the fake score's, [B, …]. */
  teacher: Tensor;
  fake: Tensor;
  /** What a sample's loss is multiplied by, [B], without gradient. */
  weight: Tensor;
  /** mean_B ‖f_r - f_f‖²·weight, without gradient: what should fall. */
  divergence: Tensor;
  /** [B], 0 for samples that were left out. */
  kept: Tensor;
};

/**
 * The generator's loss (SiD, arXiv 2404.04057; with guidance arXiv 2406.01561): with Δ = f_r - f_f,
 * (scale/B)·Σ weight_b·Δ·[(f_f - x_g) + (1 - α)·Δ], which is Δ·[(f_r - x_g) - α·Δ].
 *
 * The gradient goes through every x_g: the bare one and, through x_t, the inputs of teacher and fake score. Their parameters are the caller's to hold fixed;
 * only the weight is cut off (and, with the gradient `direct`, what teacher and fake score say). Samples with a NaN in x_g, f_r or f_f are left out of the value, the divisor
 * stays B. The gradients of such a batch are NaN all the same, because the generator's own activations are; `cleanGradients` makes them 0.
 */
export function generatorLoss(
  networks: { teacher: SidNetwork; fake: SidNetwork },
  batch: SidBatch,
  options: GeneratorLossOptions,
): GeneratorLoss {
  const where = 'generatorLoss';
  checkSidBatch(batch, where);
  const { parameterization, guidance, ...matching } = options;
  checkGuidance(guidance, where);
  const { alpha, weighting, gradient, scale } = parseMatching(matching, where);
  return tf.tidy(() => {
    const { x, e, t, condition } = batch;
    const noised = addNoise(parameterization, x, e, t);
    const at = { x: noised, t, ...(condition && { condition }) };
    const denoise = (network: SidNetwork, kappa: number): Tensor => {
      const denoised = guidedDenoised(network, parameterization, at, kappa, where);
      return gradient === 'direct' ? stopGradient(denoised) : denoised;
    };
    const teacher = denoise(networks.teacher, guidance.teacher);
    const fake = denoise(networks.fake, guidance.fake);
    const residual =
      guidance.residual === undefined || guidance.residual === guidance.fake ? fake : denoise(networks.fake, guidance.residual);
    const kept = withoutNaN([x, teacher, fake]);
    const weight = stopGradient(matchingWeight(weighting, { x, teacher, t, parameterization }));
    const difference = tf.sub(teacher, fake);
    const bracket = alpha === 1 ? tf.sub(residual, x) : tf.add(tf.sub(residual, x), tf.mul(difference, 1 - alpha));
    const perElement = masked(tf.mul(tf.mul(difference, bracket), perSample(weight, x)), kept);
    const B = x.shape[0]!;
    const distance = masked(tf.mul(tf.square(difference), perSample(weight, x)), kept);
    return {
      loss: tf.mul(tf.sum(perElement), scale / B),
      perElement,
      noised,
      teacher,
      fake,
      weight,
      divergence: stopGradient(tf.div(tf.sum(distance), B)),
      kept,
    };
  });
}

/** What a sample's generator loss is multiplied by, [B]; see `Weighting`. */
export function matchingWeight(
  weighting: Weighting,
  { x, teacher, t, parameterization }: { x: Tensor; teacher: Tensor; t: Tensor; parameterization: Parameterization },
): Tensor {
  if (weighting === 'one') return tf.ones([x.shape[0]!]);
  if (weighting === 'teacher-error') return tf.reciprocal(teacherError(x, teacher));
  if (parameterization.name !== 'flow')
    throw new Error(`generatorLoss: weighting: wanted 'teacher-error' or 'one' without flow matching, got '${weighting}'`);
  const floor = 1e-5;
  const rest = tf.sub(1, t);
  const ratio = tf.div(rest, tf.maximum(t, floor));
  switch (weighting) {
    case '1-t':
      return rest;
    case '(1-t)^2':
      return tf.square(rest);
    case '1/t':
      return tf.reciprocal(tf.maximum(t, floor));
    case '1/t^2':
      return tf.reciprocal(tf.maximum(tf.square(t), floor));
    case 'snr^1/2':
      return ratio;
    case 'snr':
      return tf.square(ratio);
  }
}

/** w_b = max(mean over pixels of |x_g - f_r|, 10⁻⁵) [B], without gradient. */
export function teacherError(x: Tensor, teacher: Tensor): Tensor {
  checkLike(teacher, x, 'teacherError: teacher');
  const error = tf.abs(tf.sub(stopGradient(x), stopGradient(teacher)));
  return tf.maximum(tf.mean(tf.reshape(error, [x.shape[0]!, -1]), 1), 1e-5); // [B, …] -> [B]
}

/** 1 for every sample [B] without a NaN in any of the tensors [B, …], 0 for the others. */
export function withoutNaN(tensors: readonly Tensor[]): Tensor {
  const bad = tensors.map((x) => tf.max(tf.cast(tf.isNaN(tf.reshape(stopGradient(x), [x.shape[0]!, -1])), 'float32'), 1));
  return tf.sub(
    1,
    bad.reduce((a, b) => tf.maximum(a, b)),
  );
}

/** x where a sample is kept, 0 where it is not; a product would keep the NaN. */
export function masked(x: Tensor, kept: Tensor): Tensor {
  const keep = tf.broadcastTo(perSample(kept, x), x.shape);
  return tf.where(tf.greater(keep, 0), x, tf.zerosLike(x));
}

function checkSidBatch(batch: SidBatch, where: string): void {
  checkPair(batch.x, batch.e, where, ['x', 'e']);
  dims(batch.t, 'B', `${where}: t`, { B: batch.x.shape[0]! });
}
