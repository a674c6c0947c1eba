import { adamW, attention, blockCausalSlices, sliceMask } from '@atelier/nn';
import {
  attendSlices,
  chunkLoss,
  clipNetwork,
  initMagi,
  magiConfig,
  magiGraphs,
  magiSampler,
  type MagiConfig,
  type MagiParams,
  type Prompt,
  type ScheduleSettings,
  type SelfAttention,
} from '@atelier/magi1';
import { compile, Rng, tf, toHostTree, treeMap, valueAndGrad, type Tensor, type Tree } from '@atelier/tensor';
import type { Work } from '../harness/work.ts';

const rng = new Rng('bench magi1');

/** Latents of 16 × 16 with 4 channels, so 64 tokens a frame, and prompts of 16 tokens. */
const SIDE = 16;
const benchConfig: MagiConfig = magiConfig.parse({
  layers: 4,
  width: 192,
  hidden: 768,
  heads: 6,
  kvHeads: 2,
  headDim: 32,
  channels: 4,
  captionChannels: 64,
  captionLength: 16,
  nullTokens: 16,
});

/** Weights none of which is zero. */
function weights(config: MagiConfig): MagiParams {
  const start = initMagi(rng.child('init'), config) as unknown as Tree;
  return treeMap((leaf, path) => tf.add(leaf, tf.mul(rng.child(path).normal(leaf.shape), 0.05)), start) as unknown as MagiParams;
}

const schedule: ScheduleSettings = { chunks: 6, chunkFrames: 2, window: 4, steps: 16 };

const prompt = (): Prompt => ({ features: rng.child('prompt').normal([1, 16, 64]), mask: tf.ones([1, 16], 'bool') });

/** One chunk of an endless guided video: the S/W forwards from one finished chunk to the next. Its check numbers are those of a short video. */
export function chunkWork(): Work {
  const config = benchConfig;
  const params = weights(config);
  const prompts = prompt();
  const { chunkFrames } = schedule;
  const noise = rng.child('noise').normal([1, schedule.chunks * chunkFrames, SIDE, SIDE, config.channels]);
  const graphs = magiGraphs(config);
  const fresh = (chunk: number): Tensor => rng.child(`noise ${chunk}`).normal([1, chunkFrames, SIDE, SIDE, config.channels]);
  const stream = graphs.open(params, fresh, { schedule: { ...schedule, chunks: 1_000_000 }, prompts });
  return {
    step: () => {
      for (;;) {
        const finished = stream.advance();
        if (finished === undefined) continue;
        const [first] = finished.frames.dataSync();
        finished.frames.dispose();
        if (!Number.isFinite(first)) throw new Error(`bench magi1: wanted finite frames, got ${first}`);
        return;
      }
    },
    check: () => {
      const sampler = magiSampler(config);
      const figures: number[] = [];
      for (const { finished } of sampler.steps(params, noise, { schedule, prompts })) {
        if (!finished) continue;
        figures.push(Array.from(finished.frames.dataSync(), (value) => value * value).reduce((a, b) => a + b, 0));
        finished.frames.dispose();
      }
      sampler.dispose();
      return Promise.resolve(figures);
    },
    tensors: () => toHostTree({ params, inputs: { noise, features: prompts.features } } as unknown as Tree),
    peerConfig: { ...config, ...schedule, history: [5, 4, 3, 2] },
  };
}

/** How a training step finds who sees whom: by slices, or by a mask of all pairs. */
export type Masking = 'slices' | 'dense';

/**
 * A block-causal training step of a small network on a clip of so many chunks of `perChunk` frames, 64 tokens each; `range` is how many chunks a chunk
 * sees, 0 is all before it.
 */
export function trainingStep(
  { chunks, perChunk, range }: { chunks: number; perChunk: number; range: number },
  masking: Masking,
): () => void {
  const config: MagiConfig = { ...benchConfig, layers: 2, width: 96, hidden: 192, heads: 3, kvHeads: 1 };
  const frames = perChunk * chunks;
  const P = perChunk * (SIDE / 2) ** 2;
  const slices = blockCausalSlices(
    Array.from({ length: chunks }, () => P),
    range === 0 ? undefined : Array.from({ length: chunks }, () => range),
  );
  const attend = masking === 'slices' ? attendSlices(slices) : attendDense(sliceMask(slices, chunks * P, chunks * P), chunks * P);
  const optimizer = adamW({ b2: 0.95, weightDecay: 0.1 });
  const step = compile(
    (params: Tree, state: Tree, batch: Tree): Tree => {
      const data = batch as unknown as Record<'x' | 'e' | 't' | 'clean' | 'dropped' | 'features' | 'mask', Tensor>;
      const { loss, grads } = valueAndGrad((at: Tree) => ({ loss: chunkLoss(clipNetwork(at as unknown as MagiParams, data, attend, config), data).loss, aux: [] }), params); // prettier-ignore
      const next = optimizer.update(grads, state as never, params, tf.scalar(1e-4));
      return { params: next.params, state: next.state as unknown as Tree, loss };
    },
    { donate: [0, 1], name: `train ${chunks} ${masking}` },
  );
  let params = weights(config) as unknown as Tree;
  let state = optimizer.init(params) as unknown as Tree;
  const shape = [1, frames, SIDE, SIDE, config.channels];
  const batch = {
    x: rng.child('x').normal(shape),
    e: rng.child('e').normal(shape),
    t: tf.tensor2d(Array.from({ length: chunks }, (_, i) => 0.9 - (0.8 * i) / chunks), [1, chunks]), // prettier-ignore
    clean: tf.zeros([1, chunks]),
    dropped: tf.zeros([1, chunks]),
    features: rng.child('features').normal([1, chunks, 16, 64]),
    mask: tf.ones([1, chunks, 16], 'bool'),
  } as unknown as Tree;
  return () => {
    const out = step(params, state, batch) as unknown as { params: Tree; state: Tree; loss: Tensor };
    ({ params, state } = out);
    const [loss] = out.loss.dataSync();
    out.loss.dispose();
    if (!Number.isFinite(loss)) throw new Error(`bench magi1: wanted a finite loss, got ${loss}`);
  };
}

/** Attention of all pairs under one mask [T, T], with the heads of queries that share keys as longer blocks. */
function attendDense(mask: Uint8Array, T: number): SelfAttention {
  return (q, k, v) => {
    const [B, nh, , d] = q.shape as [number, number, number, number];
    const nk = k.shape[1]!;
    const group = nh / nk;
    const one = tf.tensor2d(mask, [T, T], 'bool');
    const out = attention(tf.reshape(q, [B, nk, group * T, d]), k, v, { mask: group === 1 ? one : tf.tile(one, [group, 1]) });
    return tf.reshape(out, [B, nh, T, d]);
  };
}

/** Streams so many chunks; for each, the time since the one before it in ms, and the highest resident memory so far in MiB. */
export function longStream(chunks: number): { times: number[]; peaks: number[]; graphs: number[]; firstAfter: number } {
  const config: MagiConfig = { ...benchConfig, layers: 2, width: 96, hidden: 192, heads: 3, kvHeads: 1 };
  const params = weights(config);
  const graphs = magiGraphs(config);
  const stream = graphs.open(params, (chunk) => rng.child(`stream ${chunk}`).normal([1, 2, SIDE, SIDE, config.channels]), {
    schedule: { ...schedule, chunks, steps: 8 },
    prompts: prompt(),
    fillWindow: true,
  });
  const out = { times: [] as number[], peaks: [] as number[], graphs: [] as number[], firstAfter: 0 };
  let from = performance.now();
  while (!stream.complete) {
    const finished = stream.advance();
    if (finished === undefined) continue;
    finished.frames.dataSync();
    finished.frames.dispose();
    if (finished.chunk === 0) out.firstAfter = stream.state.forward;
    out.times.push(performance.now() - from);
    out.peaks.push(process.resourceUsage().maxRSS / 1024);
    out.graphs.push(graphs.graphs);
    // Buffers of disposed tensors are given back when JavaScript's memory is collected; without this the peak says when that was.
    (globalThis as { gc?: () => void }).gc?.();
    from = performance.now();
  }
  stream.dispose();
  graphs.dispose();
  return out;
}
