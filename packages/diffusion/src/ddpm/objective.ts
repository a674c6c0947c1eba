import { checkLike, checkPair, type Rng, stopGradient, type Tensor, tf } from '@atelier/tensor';
import { gatherCoefficients } from './coefficients.ts';
import { discretizedGaussianLogLikelihood, normalKl } from './likelihood.ts';
import {
  checkSteps,
  checkVariance,
  diffuse,
  posteriorColumns,
  posteriorMean,
  reversePosterior,
  splitOutput,
  type Variance,
} from './process.ts';
import type { DiffusionTables } from './tables.ts';

/** ε̂ (and v) as a function of x [B, …, C] and the times [B] float32 of the original process: [B, …, C], or [B, …, 2C] with a learned variance. */
export type NoisePredictor = (x: Tensor, t: Tensor) => Tensor;

/** x0 [B, …, C] data, noise ε [B, …, C], k [B] int32 the step of each sample, from 0 (least noise) to steps-1. */
export type DiffusionBatch = { x0: Tensor; noise: Tensor; k: Tensor };

/** The loss and its parts: `loss` is a scalar, the others are [B] unless another shape is given. All except `xk` carry a gradient. */
export type DiffusionLoss = {
  /** Mean over the batch. */
  loss: Tensor;
  /** `mse`, plus `vb` with a learned variance. */
  lossPerSample: Tensor;
  /** Mean of (ε̂ - ε)² over a sample. */
  mse: Tensor;
  /** The variational term in bits per element, with a learned variance. */
  vb?: Tensor;
  /** The noised data [B, …, C]. */
  xk: Tensor;
};

/** Draws what a training step needs besides the data: one uniform step k per sample, and ε. The caller owns both. */
export function drawDiffusion(rng: Rng, tables: DiffusionTables, shape: readonly number[]): { noise: Tensor; k: Tensor } {
  if (shape.length < 2) throw new Error(`drawDiffusion: shape: wanted [B, …] of rank 2 or more, got [${shape.join(', ')}]`);
  const k = tf.tensor1d(rng.child('steps').integers(shape[0]!, 0, tables.steps), 'int32');
  return { noise: rng.child('noise').normal(shape), k };
}

/**
 * The training loss of DiT (facebookresearch/DiT diffusion/gaussian_diffusion.py:715): the mean over the batch of (ε̂ - ε)². With a learned variance the
 * variational term is added with weight 1. It gives no gradient to ε̂, so it trains only v.
 *
 * Call inside `tf.tidy`, `valueAndGrad` or a compiled step. The caller owns the returned tensors.
 * @param network a function of x and t. If it needs labels, it closes over them (some may be dropped, see `dropLabels`)
 * @throws Error if shapes do not agree or the network returns another number of channels than `variance` asks for
 */
export function diffusionLoss(
  network: NoisePredictor,
  batch: DiffusionBatch,
  tables: DiffusionTables,
  { variance }: { variance: Variance },
): DiffusionLoss {
  const where = 'diffusionLoss';
  checkVariance(variance, where);
  checkPair(batch.x0, batch.noise, where, ['x0', 'noise']);
  checkSteps(batch.k, batch.x0, where);
  return tf.tidy(() => {
    const { x0, noise, k } = batch;
    const xk = diffuse(tables, x0, noise, k);
    const { epsilon, v } = splitOutput(network(xk, timesOf(tables, k)), xk, variance, where);
    const mse = meanPerSample(tf.square(tf.sub(epsilon, noise)));
    if (v === undefined) return { loss: tf.mean(mse), lossPerSample: mse, mse, xk };
    const vb = variationalTerm({ epsilon: stopGradient(epsilon), v }, { x0, xk, k }, tables);
    const lossPerSample = tf.add(mse, vb);
    return { loss: tf.mean(lossPerSample), lossPerSample, mse, vb, xk };
  });
}

/**
 * One term of the variational bound per sample, in bits per element [B]. For k > 0 it is KL(q(x_{k-1} | x_k, x₀) ‖ p(x_{k-1} | x_k)). For k = 0 it is
 * -log p(x₀ | x_k), where the Gaussian is integrated over the bins of 256 levels of [-1, 1], even if the data are not pixels. x̂₀ is not clipped.
 *
 * @param output ε̂ and v [B, …, C]. The gradient flows to both; to train only v, pass `stopGradient` of ε̂
 * @param at x0 and xk [B, …, C], k [B] int32
 */
export function variationalTerm(
  output: { epsilon: Tensor; v: Tensor },
  at: { x0: Tensor; xk: Tensor; k: Tensor },
  tables: DiffusionTables,
): Tensor {
  const where = 'variationalTerm';
  checkPair(at.x0, at.xk, where, ['x0', 'xk']);
  checkLike(output.epsilon, at.x0, `${where}: epsilon`);
  checkLike(output.v, at.x0, `${where}: v`);
  checkSteps(at.k, at.x0, where);
  return tf.tidy(() => {
    const c = gatherCoefficients(posteriorColumns(tables), at.k, at.x0);
    const { mean, logVariance } = reversePosterior(output, at.xk, c, { variance: 'learned', clip: false });
    const divergence = normalKl(posteriorMean(at.x0, at.xk, c), c.posteriorLogVariance, mean, logVariance);
    const surprise = tf.neg(discretizedGaussianLogLikelihood(at.x0, mean, logVariance));
    const nats = tf.where(tf.equal(at.k, tf.scalar(0, 'int32')), meanPerSample(surprise), meanPerSample(divergence));
    return tf.div(nats, Math.LN2);
  });
}

/** The times that the network gets at the steps k [B] int32: [B] float32. */
function timesOf(tables: DiffusionTables, k: Tensor): Tensor {
  return tf.gather(tf.tensor1d(Float32Array.from(tables.timesteps)), k);
}

const meanPerSample = (x: Tensor): Tensor => tf.mean(tf.reshape(x, [x.shape[0]!, -1]), 1); // [B, …] -> [B, d] -> [B]
