import { adamW, type AdamState } from '@atelier/nn';
import { checkNumber, dims, parseConfig, type Rng, type Tensor, tf, valueAndGrad } from '@atelier/tensor';
import { tarflowConfig, type TarFlowSettings } from './config.ts';
import type { TarFlow, TarFlowParams } from './model.ts';
import { dequantize, tarflowLoss } from './objective.ts';

/** The noise added to training images: Gaussian with this standard deviation σ_n, or the uniform dequantization of likelihood models. */
export type NoiseLevel = number | 'uniform';

/** How far the prior's variance moves towards that of a batch at each step. */
const VARIANCE_RATE = 0.1;

/** The official optimizer: AdamW on every parameter, norms, biases and embeddings among them; no clipping, no average of the weights. */
export const tarflowOptimizer = adamW({ b1: 0.9, b2: 0.95, eps: 1e-8, weightDecay: 1e-4 });

export type TrainingState = {
  params: TarFlowParams;
  /** Variance of the prior [T, D]; it moves only if the model preserves the volume. */
  var: Tensor;
  adam: AdamState;
};

/** Images x [B, H, W, C] with their draws of `drawNoise`, and labels y [B] int32 if the model has classes, -1 for none. */
export type TrainingBatch = { x: Tensor; noise: Tensor; y?: Tensor };

/** The state before the first step. It owns the tensors of the model from then on; a compiled step to which it is donated consumes them. */
export function initTraining({ var: variance, ...params }: TarFlow): TrainingState {
  return { params, var: variance, adam: tarflowOptimizer.init(params) };
}

/** The model inside a state; it shares its tensors. */
export function modelOfState({ params, var: variance }: TrainingState): TarFlow {
  return { ...params, var: variance };
}

/** Draws for `addNoise`: standard normal, or uniform in [0, 1). */
export function drawNoise(rng: Rng, shape: readonly number[], level: NoiseLevel): Tensor {
  return level === 'uniform' ? rng.uniform(shape) : rng.normal(shape);
}

/** x + σ_n·ε for images x in [-1, 1], or for `uniform` the dequantization of pixel values x in 0 … 255. */
export function addNoise(x: Tensor, noise: Tensor, level: NoiseLevel): Tensor {
  if (level === 'uniform') return dequantize(x, noise);
  checkNumber('addNoise: level', level, { min: 0 });
  if (x.shape.join() !== noise.shape.join())
    throw new Error(`addNoise: noise: wanted the shape of x [${x.shape.join(', ')}], got [${noise.shape.join(', ')}]`);
  return tf.add(x, tf.mul(noise, level));
}

/** Labels y [B] int32 with -1 ("none") wherever `dropped` [B] bool is true; officially a label is dropped with probability 0.1. */
export function dropLabels(y: Tensor, dropped: Tensor): Tensor {
  const { B } = dims<'B'>(y, 'B', 'dropLabels: y');
  dims(dropped, 'B', 'dropLabels: dropped', { B });
  if (y.dtype !== 'int32') throw new Error(`dropLabels: y: wanted int32 labels, got ${y.dtype}`);
  if (dropped.dtype !== 'bool') throw new Error(`dropLabels: dropped: wanted bool, got ${dropped.dtype}`);
  return tf.where(dropped, tf.fill([B], -1, 'int32'), y);
}

/** var + 0.1·(mean_b z² - var): the prior's variance [T, D] after a step with the noise z [B, T, D]. */
export function updateVariance(variance: Tensor, z: Tensor): Tensor {
  return tf.add(variance, tf.mul(tf.sub(tf.mean(tf.square(z), 0), variance), VARIANCE_RATE));
}

/**
 * One training step as a pure function, to be compiled with its state donated: noise on the images, loss, gradients, AdamW, and in a
 * volume-preserving model the variance of the prior. The rate is a scalar tensor, from `tarflowSchedule`.
 */
export function trainingStep(
  settings: TarFlowSettings,
  level: NoiseLevel,
): (state: TrainingState, batch: TrainingBatch, rate: Tensor) => { state: TrainingState; loss: Tensor } {
  const config = parseConfig(tarflowConfig, settings, 'trainingStep');
  return (state, { x, noise, y }, rate) => {
    const noisy = addNoise(x, noise, level);
    const { loss, aux, grads } = valueAndGrad((params: TarFlowParams) => {
      const { loss, z } = tarflowLoss(params, noisy, config, y);
      return { loss, aux: { z } };
    }, state.params);
    const { params, state: adam } = tarflowOptimizer.update(grads, state.adam, state.params, rate);
    return { state: { params, adam, var: config.volumePreserving ? updateVariance(state.var, aux.z) : state.var }, loss };
  };
}
