import { interpolate } from '@atelier/diffusion';
import { adamW, clipByGlobalNorm, type AdamState, type Optimizer } from '@atelier/nn';
import { compile, tf, type Rng, type Tensor } from '@atelier/tensor';
import {
  applyWan,
  denseAttentionFlops,
  sparseAttentionFlops,
  trainingFlops,
  wanParameterCount,
  type LayerMixer,
  type WanParams,
  type WanSettings,
} from '@atelier/vsa';

/** A batch: clean videos x0 and noise e [B, F, H, W, C], times t [B], text [B, 1, classes] if there are classes, and a tensor with as many entries as tiles are kept. */
export type Batch = { x0: Tensor; e: Tensor; t: Tensor; text?: Tensor; keep?: Tensor };

const adam = adamW({ b2: 0.95, weightDecay: 0.01 });

/** AdamW with the settings of the paper, after gradients are clipped to a norm of 1. */
export const optimizer: Optimizer<AdamState> = {
  init: adam.init,
  update: (grads, state, params, rate) => adam.update(clipByGlobalNorm(grads, 1).grads, state, params, rate),
};

/** Noise and times of a batch: σ = sigmoid(u), u ~ N(0, 1). */
export function drawNoise(rng: Rng, shape: number[]): { e: Tensor; t: Tensor } {
  return { e: rng.child('noise').normal(shape), t: tf.tidy(() => tf.sigmoid(rng.child('times').normal([shape[0]!]))) };
}

/** Squared error of the velocity e - x₀ for each video, mean over its numbers: [B]. */
export function velocityError(params: WanParams, { x0, e, t, text }: Batch, settings: WanSettings, mix: LayerMixer): Tensor {
  const out = applyWan(params, interpolate(x0, e, t), { t, text }, settings, mix);
  return tf.mean(tf.square(tf.sub(out, tf.sub(e, x0))), [1, 2, 3, 4]);
}

/** Held-out videos with noise at each of the times that errors are measured at. */
export const TIMES = [0.2, 0.4, 0.6, 0.8] as const;

/** The mean error over the times of a batch, as a number. */
export async function meanError(params: WanParams, batches: readonly Batch[], settings: WanSettings, mix: LayerMixer): Promise<number> {
  const run = compile((at: WanParams, batch: Batch) => tf.mean(velocityError(at, batch, settings, mix)), { idle: 'sleep' });
  try {
    let sum = 0;
    for (const batch of batches) {
      const error = run(params, batch);
      sum += (await error.data())[0]!;
      error.dispose();
    }
    return sum / batches.length;
  } finally {
    run.dispose();
  }
}

/** Counted operations of training for each token, with and without sparse attention. */
export function operations(settings: WanSettings, size: { tokens: number; volume: number; keep: number }): { full: number; vsa: number } {
  const { heads, headDim, layers } = settings;
  const attention = { tokens: size.tokens, heads, headDim, layers };
  return {
    full: trainingFlops(wanParameterCount({ ...settings, gate: false }), denseAttentionFlops(attention)),
    vsa: trainingFlops(wanParameterCount({ ...settings, gate: true }), sparseAttentionFlops(attention, size).total),
  };
}
