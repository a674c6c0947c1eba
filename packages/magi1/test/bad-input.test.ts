import { tf, useEngine, type Tensor } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  chunkPlan,
  constantGuidance,
  decodeVideo,
  denoisingTimes,
  drawChunkTimes,
  drawDistillation,
  dropText,
  encodeVideo,
  guidanceScales,
  initVae,
  magiConfig,
  magiForward,
  magiFromStateDict,
  magiSampler,
  attendSlices,
  plannedForward,
  warpTime,
  type MagiInputs,
  type MagiParams,
  type VideoOptions,
} from '../src/index.ts';
import { Rng } from '@atelier/tensor';
import { noiseOf, options, prompt, randomWeights, tiny } from './networks.ts';

let params: MagiParams;
beforeAll(async () => {
  await useEngine('cpu');
  params = randomWeights('bad');
});

const plan = { chunks: 3, chunkFrames: 2, window: 2, steps: 4, history: [2] };
const sample = (noise: Tensor, of: VideoOptions) => magiSampler(tiny).sample(params, noise, of);
const inputs = (): MagiInputs => ({
  x: noiseOf('x', 2),
  t: tf.zeros([1, 2]),
  texts: [{ chunks: 2, features: tf.zeros([1, 2, 6, 5]) }],
  textOn: tf.ones([1, 2]),
});
const forward = (changed: Partial<MagiInputs>) => magiForward(params, { ...inputs(), ...changed }, attendSlices([]), tiny);
const vae = { videoSize: 4, videoLength: 2, patchSize: 2, patchLength: 1, latentChannels: 2, width: 8, depth: 1, heads: 2 };

describe('bad input is named', () => {
  it.each([
    [
      'steps that the window does not divide',
      () => chunkPlan({ ...plan, steps: 5 }),
      'chunkPlan: steps: wanted a multiple of the window 2, got 5',
    ],
    ['a history that does not divide the steps', () => chunkPlan({ ...plan, history: [3, 2, 1] }), 'divides the 4 steps, got 3'],
    ['no chunk', () => chunkPlan({ ...plan, chunks: 0 }), 'chunkPlan: chunks'],
    ['a window of none', () => chunkPlan({ ...plan, window: 0 }), 'chunkPlan: window'],
    ['a prefix as long as the video', () => chunkPlan({ ...plan, prefixFrames: 6 }), 'wanted fewer than the 6 frames of the video, got 6'],
    ['a history of 0', () => chunkPlan({ ...plan, history: [0] }), 'chunkPlan: history'],
    ['a mixed grid of 8 steps', () => denoisingTimes(8, { mixed: '8,16,16' }), 'wanted 12 for a mixed grid, got 8'],
    ['an unknown mixed grid', () => denoisingTimes(12, { mixed: '8' as never }), "got '8'"],
    ['an unknown warp', () => warpTime(0.5, { kind: 'cubic' } as never), "got 'cubic'"],
    ['a fraction beyond 1', () => warpTime(1.1), 'warpTime: u: wanted a finite number at least 0 and at most 1, got 1.1'],
    [
      'a forward beyond the last',
      () => plannedForward(chunkPlan(plan), 8),
      'plannedForward: g: wanted an integer at least 0 and below 8, got 8',
    ],
    ['falling edges', () => guidanceScales(0, { edges: [0, 0.3, 0.1] }), 'wanted rising times'],
    [
      'scales without an edge',
      () => guidanceScales(0, { edges: [0], previous: [1, 2], text: [0] }),
      'wanted 1 scales, one for each edge, got 2',
    ],
    ['heads that do not divide', () => magiConfig.parse({ ...tiny, kvHeads: 3 }), 'wanted a divisor of the 4 heads, got 3'],
    [
      'a table shorter than the null caption',
      () => magiConfig.parse({ ...tiny, captionLength: 2 }),
      'wanted at least the 3 null tokens, got 2',
    ],
    [
      'a checkpoint of another model',
      () => magiFromStateDict({ 'x.weight': { dtype: 'float32', shape: [1], data: new Float32Array(1) } }, tiny),
      "'x.weight' is nearest to",
    ],
    ['frames of one row of tokens', () => forward({ x: tf.zeros([1, 2, 2, 6, 3]) }), 'at least 2 × 2 patches of 2 × 2, got 2 × 6'],
    ['frames that the chunks do not divide', () => forward({ x: noiseOf('x', 3) }), 'that the 2 chunks of t divide, got 3'],
    [
      'texts of fewer chunks',
      () => forward({ texts: [{ chunks: 1, features: tf.zeros([1, 1, 6, 5]) }] }),
      'wanted texts of 2 chunks, got texts of 1',
    ],
    [
      'noise of another length',
      () => sample(noiseOf('n', 4), options()),
      'magiSampler: noise: wanted shape [B=1, F=5, H, W, C=3], got [1, 4, 4, 6, 3]',
    ],
    [
      'prompts fewer than chunks',
      () => sample(noiseOf('n', 5), options({}, { prompts: [prompt('a')] })),
      'one for each of 5 chunks, got 1',
    ],
    [
      'a prompt of other features',
      () => sample(noiseOf('n', 5), options({}, { prompts: { features: tf.zeros([1, 6, 4]), mask: tf.ones([1, 6], 'bool') } })),
      'prompt of chunk 0: wanted shape [B=1, L=6, Y=5], got [1, 6, 4]',
    ],
    [
      'a prefix that is not announced',
      () => sample(noiseOf('n', 5), options({}, { prefix: noiseOf('p', 1) })),
      'prefix: wanted 0 frames, got 1',
    ],
    ['a prefix that is missing', () => sample(noiseOf('n', 5), options({ prefixFrames: 1 })), 'prefix: wanted 1 frames, got none'],
    [
      'a mixed grid for a guided network',
      () => sample(noiseOf('n', 5), options({ steps: 12, history: [2], mixed: '8,16,16' })),
      'wanted a uniform grid',
    ],
    [
      'an unknown kind',
      () => sample(noiseOf('n', 5), options({}, { kind: 'fast' as never })),
      "wanted 'guided' or 'distilled', got 'fast'",
    ],
    ['times of no chunk', () => drawChunkTimes(new Rng(0), { clips: 1, chunks: 0 }, { kind: 'sorted' }), 'drawChunkTimes: chunks'],
    [
      'a law with an unknown setting',
      () => drawChunkTimes(new Rng(0), { clips: 1, chunks: 1 }, { kind: 'window', width: 2 } as never),
      'drawChunkTimes',
    ],
    [
      'distillation of steps that the window does not divide',
      () => drawDistillation(new Rng(0), { clips: 1, chunks: 1, window: 4, steps: 6 }),
      'a multiple of the window 4, got 6',
    ],
    [
      'texts shorter than the null caption',
      () => dropText(params.y_embedder, { features: tf.zeros([1, 1, 2, 5]), mask: tf.ones([1, 1, 2], 'bool') }, tf.zeros([1, 1]), 3),
      'wanted at least 3 tokens',
    ],
    [
      'videos that patches do not divide',
      () => encodeVideo(initVae(new Rng(0), vae), tf.zeros([1, 2, 5, 4, 3]), vae),
      'got 2 frames of 5 × 4',
    ],
    ['latents of other channels', () => decodeVideo(initVae(new Rng(0), vae), tf.zeros([1, 1, 2, 2, 3]), vae), 'decodeVideo: latents'],
  ])('%s', (_, call, message) => {
    expect(() => call()).toThrow(message);
  });

  it('guidance that is the same at all times has one edge', () => {
    expect(guidanceScales(0.7, constantGuidance(2, 3))).toEqual({ previous: 2, text: 3 });
  });
});
