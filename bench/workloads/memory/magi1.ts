import { initMagi, magiGraphs, magiSampler, streamVideo, type MagiParams, type MagiSettings, type VideoOptions } from '@atelier/magi1';
import { Rng, tf, type Tensor, type Tree } from '@atelier/tensor';
import { moved } from '../trees.ts';
import { samples, type Repetition } from './repeated.ts';
import { stage } from './stage.ts';

const network = { layers: 1, width: 16, heads: 2, kvHeads: 1, headDim: 8 };
const settings: MagiSettings = { ...network, hidden: 32, channels: 1, patch: [2, 4], captionChannels: 2, captionLength: 2, nullTokens: 1 };
const schedule = { chunks: 3, chunkFrames: 1, window: 2, steps: 4, history: [2] };

/** The network and the options of a short guided video of 4 × 8 pixels. */
function video(): { rng: Rng; params: MagiParams; options: VideoOptions } {
  const rng = new Rng('memory magi1');
  const params = tf.tidy(() => moved(initMagi(rng.child('init'), settings) as unknown as Tree, rng, 0.05) as never) as MagiParams;
  const prompts = { features: rng.child('prompt').normal([1, 1, 2]), mask: tf.ones([1, 1], 'bool') };
  return { rng, params, options: { schedule, prompts, guidance: { edges: [0, 0.3], previous: [1.5, 1], text: [2, 2] } } };
}

function sampler(): Repetition {
  const { rng, params, options } = video();
  const one = magiSampler(settings);
  return (index) => {
    const noise = rng.child(index).normal([1, 3, 4, 8, 1]);
    const frames = one.sample(params, noise, options);
    noise.dispose();
    return frames;
  };
}

/** A stream that is left after its first chunk, and goes on from the saved session in a second stream. Its last chunk is the sample. */
function stream(): Repetition {
  const { rng, params, options } = video();
  const graphs = magiGraphs(settings);
  return async (index) => {
    const own = { ...options, graphs, noise: (chunk: number) => rng.child(index).child(chunk).normal([1, 1, 4, 8, 1]) };
    let session: Uint8Array | undefined;
    for await (const { frames, save } of streamVideo(params, settings, own)) {
      session = await save();
      frames.dispose();
      break;
    }
    let last: Tensor | undefined;
    for await (const { frames } of streamVideo(params, settings, { ...own, session: session! })) {
      last?.dispose();
      last = frames;
    }
    return last!;
  };
}

const strip = { ...network, chunks: 3, steps: 4, judged: 4, given: 2, histories: [1], trained: [0, 2], repeats: 1, variants: ['window'] };

export const magi1 = {
  magi1: stage({
    experiment: 'magi1',
    stage: 'strip-window-0',
    config: (steps) => ({ parts: ['strip'], strip: { ...strip, training: { steps, batch: 4 }, distillation: { steps: 0 } } }),
  }),
  'magi1-distillation': stage({
    experiment: 'magi1',
    stage: 'strip-distilled',
    config: (steps) => ({ parts: ['strip'], strip: { ...strip, training: { steps: 20, batch: 2 }, distillation: { steps } } }),
  }),
  'magi1-sampler': samples(sampler),
  'magi1-stream': samples(stream),
};
