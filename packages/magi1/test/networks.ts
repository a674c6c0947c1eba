import { Rng, tf, treeMap, type Tensor, type Tree } from '@atelier/tensor';
import { initMagi, magiConfig, type MagiParams, type MagiSettings, type Prompt, type VideoOptions } from '../src/index.ts';

/** A network small enough for any test: frames of 4 × 6 pixels, 2 × 3 tokens. */
export const tiny = magiConfig.parse({
  layers: 2,
  width: 32,
  hidden: 48,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  channels: 3,
  captionChannels: 5,
  captionLength: 6,
  nullTokens: 3,
} satisfies MagiSettings);

/** Weights none of which is zero, so that every part of the network matters. The caller owns them. */
export function randomWeights(seed: string, settings: MagiSettings = tiny): MagiParams {
  const rng = new Rng(seed);
  const start = initMagi(rng.child('init'), settings);
  const out = treeMap(
    (leaf, path) => tf.tidy(() => tf.add(leaf, tf.mul(rng.child(path).normal(leaf.shape), 0.2))),
    start as unknown as Tree,
  );
  treeMap((leaf) => (leaf.dispose(), leaf), start as unknown as Tree);
  return out as unknown as MagiParams;
}

/** A prompt of L = 6 tokens, of which the first `tokens` are there. */
export const prompt = (seed: string, tokens = 4, batch = 1): Prompt => ({
  features: new Rng(seed).normal([batch, 6, 5]),
  mask: tf.tensor2d(Array.from({ length: batch * 6 }, (_, i) => Number(i % 6 < tokens)), [batch, 6], 'bool'), // prettier-ignore
});

/** Noise of a video of tiny frames. */
export const noiseOf = (seed: string, frames: number, batch = 1): Tensor => new Rng(seed).normal([batch, frames, 4, 6, 3]);

/** Options of a short video: chunks of one frame. */
export const options = (schedule: Partial<VideoOptions['schedule']> = {}, more: Partial<VideoOptions> = {}): VideoOptions => ({
  schedule: { chunks: 5, chunkFrames: 1, window: 2, steps: 4, history: [3, 2], ...schedule },
  ...more,
  prompts: more.prompts ?? prompt('prompt'),
});
