import { applySwinDiT, type SwinDiTParams } from '@atelier/swin-dit';
import { compile, tf, type Tensor } from '@atelier/tensor';
import { floats, inBatches } from '../src/evaluation/in-batches.ts';
import type { Model } from './models.ts';
import { tables } from './training.ts';

/** Noisy images that are the same for every network: clean x0, noise and x_t [N, n, n] flattened, one time each. */
export type NoisyFields = {
  readonly x0: Float32Array;
  readonly noise: Float32Array;
  readonly xt: Float32Array;
  readonly times: Int32Array;
};

const CHUNK = 100;

/** The images at these times: x_t = √ᾱ·x0 + √(1 - ᾱ)·ε. */
export function noisy(x0: Float32Array, noise: Float32Array, times: Int32Array): NoisyFields {
  const size = x0.length / times.length;
  const { sqrtAlphaBar, sqrtOneMinusAlphaBar } = tables;
  const xt = x0.map((value, i) => {
    const t = times[Math.floor(i / size)]!;
    return sqrtAlphaBar[t]! * value + sqrtOneMinusAlphaBar[t]! * noise[i]!;
  });
  return { x0, noise, xt, times };
}

/** ε̂ of a network for noisy fields of `side` pixels, in compiled batches: [N, n, n] flattened. */
export async function predictNoise(model: Model, params: SwinDiTParams, { xt, times }: NoisyFields, side: number): Promise<Float32Array> {
  const run = compile(
    (weights: SwinDiTParams, { x, t }: { x: Tensor; t: Tensor }) =>
      applySwinDiT(weights, x, { t, y: tf.zeros(t.shape, 'int32') }, model.settings),
    { donate: [1], name: `predict ${model.name}` },
  );
  try {
    const rows = { x: floats(xt, side, side, 1), t: floats(Float32Array.from(times)) };
    const { noise } = await inBatches(rows, { batch: CHUNK }, (inputs) => ({ noise: run(params, inputs) }));
    return noise.data as Float32Array;
  } finally {
    run.dispose();
  }
}

/** Mean of (ε̂ - ε)². */
export function noiseError(predicted: ArrayLike<number>, { noise }: NoisyFields): number {
  let sum = 0;
  for (let i = 0; i < noise.length; i++) sum += (predicted[i]! - noise[i]!) ** 2;
  return sum / noise.length;
}

/** x̂₀ = (x_t - √(1 - ᾱ)·ε̂)/√ᾱ, what one step of denoising gives: [N, n, n] flattened. */
export function denoised(predicted: ArrayLike<number>, { xt, times }: NoisyFields): Float32Array {
  const size = xt.length / times.length;
  const { sqrtRecipAlphaBar, sqrtRecipAlphaBarMinusOne } = tables;
  return xt.map((value, i) => {
    const t = times[Math.floor(i / size)]!;
    return sqrtRecipAlphaBar[t]! * value - sqrtRecipAlphaBarMinusOne[t]! * predicted[i]!;
  });
}
