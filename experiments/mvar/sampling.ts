import { drawTokenNoise, mvarSampler, type MvarParams, type QuantizerParams } from '@atelier/mvar';
import { tf, type Rng, type Tensor } from '@atelier/tensor';
import type { Figures, Images } from './config.ts';
import type { TokenSet } from './token-set.ts';
import type { Model } from './training.ts';

const BATCH = 64;

/**
 * Draws samples of the classes y [n]: latents [n, H, H, c], flat. Networks that are called with the same `rng` get the same random numbers, token by token.
 */
export async function drawLatents(
  one: Model,
  params: MvarParams,
  codes: QuantizerParams,
  coding: TokenSet['coding'],
  y: Int32Array,
  rng: Rng,
  { guidance, topK, topP }: Pick<Figures | Images, 'guidance' | 'topK' | 'topP'>,
): Promise<Float32Array> {
  const sampler = mvarSampler(one.config, coding);
  const side = coding.ladder.at(-1)!;
  const size = side * side * coding.channels;
  const out = new Float32Array(y.length * size);
  for (let from = 0; from < y.length; from += BATCH) {
    // The last batch is filled up, so that one set of graphs serves all.
    const labels = new Int32Array(Math.min(BATCH, y.length)).map((_, i) => y[Math.min(from + i, y.length - 1)]!);
    const label: Tensor = tf.tensor1d(labels, 'int32');
    const noise = drawTokenNoise(rng.child(from), labels.length, one.config);
    const { tokens, latents } = sampler.sample({ params, codes, y: label }, noise, { guidance, topK, topP });
    const data = (await latents.data()) as Float32Array;
    out.set(data.subarray(0, (Math.min(y.length, from + BATCH) - from) * size), from * size);
    tf.dispose([label, noise, latents, ...tokens]);
  }
  sampler.dispose();
  return out;
}
