import {
  batchLoss,
  drawTokenNoise,
  forwardMacs,
  initMvar,
  ladders,
  mvarConfig,
  mvarSampler,
  neighborhoodAttention,
  quantizerConfig,
  tokenCount,
  trainingGroups,
  varSettings,
  type MvarBatch,
  type MvarConfig,
  type MvarParams,
  type QuantizerConfig,
  type QuantizerParams,
} from '@atelier/mvar';
import { attention } from '@atelier/nn';
import { compile, Rng, tf, toHostTree, treeMap, type Tensor, type Tree } from '@atelier/tensor';
import type { Work } from '../harness/work.ts';
import { trainingWork, type EngineWork } from './engine.ts';

/** A network, and the codes of its tokens. */
export type Setting = { config: MvarConfig; coding: QuantizerConfig };

const figures = { ladder: [1, 2, 3, 4, 6, 8], width: 64, depth: 3, heads: 4, latentChannels: 8, codes: 128, numClasses: 4 };
const wide = (pixels: 256 | 512, depth: number) => ({
  ladder: [...ladders[pixels]],
  width: 256,
  depth,
  heads: 4,
  latentChannels: 32,
  codes: 1024,
  numClasses: 10,
});

const setting = (network: typeof figures, markov: { refineStep: number; kernelSize: number } | null): Setting => ({
  config: mvarConfig.parse(markov === null ? varSettings(network) : { ...network, ...markov }),
  coding: quantizerConfig.parse({ ladder: network.ladder, codes: network.codes, channels: network.latentChannels, ratio: 0 }),
});

/** The networks of the figures in the experiment, and networks of width 256 for images of 256 and 512 pixels. */
export const settings = {
  figures: (kind: 'var' | 'mvar') => setting(figures, kind === 'var' ? null : { refineStep: 4, kernelSize: 5 }),
  pixels: (kind: 'var' | 'mvar', pixels: 256 | 512, depth = 4) =>
    setting(wide(pixels, depth), kind === 'var' ? null : { refineStep: ladders[pixels].indexOf(13 as never), kernelSize: 7 }),
};

/** Random weights. At the official start the gates are nearly 0, and all codes have nearly the same probability. */
function drawnParams({ config, coding }: Setting): { params: MvarParams; codes: QuantizerParams } {
  const rng = new Rng('bench mvar');
  const start = initMvar(rng.child('init'), config) as unknown as Tree;
  const params = treeMap((leaf, path) => {
    const moved = tf.tidy(() => tf.add(leaf, tf.mul(rng.child(path).normal(leaf.shape), path === 'head.weight' ? 0.2 : 0.02)));
    leaf.dispose();
    return moved;
  }, start) as unknown as MvarParams;
  return { params, codes: { embedding: { weight: rng.child('codes').normal([coding.codes, coding.channels]) } } };
}

/** Tokens, inputs and classes for a training step. */
export function drawnBatch({ config }: Setting, B: number): MvarBatch {
  const rng = new Rng('bench mvar batch');
  const N = tokenCount(config.ladder);
  return {
    tokens: tf.tensor2d(rng.child('tokens').integers(B * N, 0, config.codes), [B, N], 'int32'),
    inputs: rng.child('inputs').normal([B, N - 1, config.latentChannels]),
    y: tf.tensor1d(rng.child('y').integers(B, 0, config.numClasses), 'int32'),
  };
}

/** A training step of VAR: all scales, gradients, AdamW. */
export function trainWork(one: Setting, B: number): EngineWork {
  const { config } = one;
  const inputs = drawnBatch(one, B) as unknown as Record<string, Tensor>;
  const loss = (params: MvarParams, batch: Record<string, Tensor>): Tensor =>
    batchLoss(params, batch as unknown as MvarBatch, trainingGroups(config), config);
  const peer = { kind: 'train', heads: config.heads, ladder: config.ladder };
  const start = drawnParams(one).params as MvarParams & Tree;
  return trainingWork(start, inputs, loss as never, peer, 2 * B * forwardMacs(config));
}

const GUIDANCE = 1.5;

/** Greedy, guided sampling of B images: tokens and latents. The check numbers are sums over both. */
export function sampleWork(one: Setting, B: number): Work {
  const { config, coding } = one;
  const { params, codes } = drawnParams(one);
  const y = tf.tensor1d(
    Int32Array.from({ length: B }, (_, i) => i % config.numClasses),
    'int32',
  );
  const sampler = mvarSampler(config, coding);
  // Greedy samples do not look at it.
  const noise = drawTokenNoise(new Rng('greedy'), B, config);
  const draw = async (): Promise<number[]> => {
    const { tokens, latents } = sampler.sample({ params, codes, y }, noise, { guidance: GUIDANCE, topK: 1 });
    const data = (await latents.data()) as Float32Array;
    const sum = tokens.reduce((all, map) => all + (map.dataSync() as Int32Array).reduce((a, b) => a + b, 0), 0);
    tf.dispose([latents, ...tokens]);
    return [data.reduce((a, b) => a + b * b, 0), sum];
  };
  return {
    step: async () => void (await draw()),
    check: draw,
    tensors: () => toHostTree({ params: params as unknown as Tree, codes: codes as unknown as Tree, inputs: { y } }),
    peerConfig: {
      kind: 'sample',
      heads: config.heads,
      ladder: config.ladder,
      guidance: GUIDANCE,
      history: config.historyScales,
      refine_step: config.refineStep,
      kernel: config.kernelSize,
    },
  };
}

/** Only the attention of the last scale, forward, for `side` × `side` tokens: in windows of 7 × 7, or over all tokens. */
export function attentionStep(side: number, windowed: boolean): { step: () => void; dispose: () => void } {
  const rng = new Rng('bench mvar attention');
  const [q, k, v] = ['q', 'k', 'v'].map((name) => rng.child(name).normal([1, 4, side * side, 64])) as [Tensor, Tensor, Tensor];
  const run = compile((a: Tensor, b: Tensor, c: Tensor) =>
    windowed ? neighborhoodAttention(a, b, c, { H: side, W: side, kernel: 7 }, { scale: 0.125 }) : attention(a, b, c),
  );
  return {
    step: () => run(q, k, v).dispose(),
    dispose: () => {
      run.dispose();
      tf.dispose([q, k, v]);
    },
  };
}

/** The times of the last step of a sampler (the largest scale), in ms. Writing the logits out is included. */
export async function stepTimes(one: Setting, B: number): Promise<(samples: number) => number[]> {
  const { config, coding } = one;
  const { params, codes } = drawnParams(one);
  const y = tf.tensor1d(new Int32Array(B), 'int32');
  const sampler = mvarSampler(config, coding);
  const noise = drawTokenNoise(new Rng('steps'), B, config);
  return (samples) => {
    const last: number[] = [];
    for (let i = 0; i < samples; i++) {
      let began = performance.now();
      for (const { l, tokens, logits, latents } of sampler.steps({ params, codes, y }, noise, { guidance: GUIDANCE, topK: 1 })) {
        const now = performance.now();
        if (l === config.ladder.length - 1) last.push(now - began);
        tf.dispose([tokens, logits, latents]);
        began = performance.now();
      }
    }
    return last;
  };
}
