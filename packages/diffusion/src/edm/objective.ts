import { checkLike, checkPair, dims, perSample, tf, type Rng, type Tensor } from '@atelier/tensor';
import { edmWeight, SIGMA_DATA, type EdmDenoiser } from './preconditioning.ts';
import { lognormalSigma } from './sigma.ts';

/** One training batch: data x and standard normal noise e [B, …], noise levels sigma [B]. */
export type EdmBatch = { x: Tensor; e: Tensor; sigma: Tensor };

/** `loss` is a scalar, `weightedError` λ(σ)·(D - x)² [B, …] before it is summed, `denoised` D(x + σe, σ). */
export type EdmLoss = { loss: Tensor; weightedError: Tensor; denoised: Tensor };

/**
 * EDM's denoising loss (1/B)·Σ λ(σ)·(D(x + σe, σ) - x)²: a sum over pixels, a mean over the batch (arXiv 2206.00364; NVlabs/edm training/loss.py:73
 * leaves the sum to the training loop).
 */
export function edmLoss(denoiser: EdmDenoiser, batch: EdmBatch, { sigmaData = SIGMA_DATA }: { sigmaData?: number } = {}): EdmLoss {
  const where = 'edmLoss';
  checkPair(batch.x, batch.e, where, ['x', 'e']);
  dims(batch.sigma, 'B', `${where}: sigma`, { B: batch.x.shape[0]! });
  return tf.tidy(() => {
    const { x, e, sigma } = batch;
    const denoised = denoiser(tf.add(x, tf.mul(perSample(sigma, x), e)), sigma);
    checkLike(denoised, x, `${where}: output of the denoiser`);
    const weightedError = tf.mul(perSample(edmWeight(sigma, sigmaData), x), tf.square(tf.sub(denoised, x)));
    return { loss: tf.div(tf.sum(weightedError), x.shape[0]!), weightedError, denoised };
  });
}

/** Draws noise and levels for data of a shape; see `lognormalSigma` for their law. */
export function drawEdm(rng: Rng, shape: readonly number[], law: { mean?: number; std?: number } = {}): { e: Tensor; sigma: Tensor } {
  return tf.tidy(() => ({ sigma: lognormalSigma(rng.child('sigma').normal([shape[0]!]), law), e: rng.child('noise').normal(shape) }));
}
