import { compile, tf, treeMap, useEngine, type Compiled, type Tensor, type Tree } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  checkVideo,
  constantGuidance,
  encodeSession,
  magiConfig,
  magiGraphs,
  magiSampler,
  streamVideo,
  type MagiGraphs,
  type MagiParams,
  type Prompt,
  type StreamOptions,
  type StreamState,
} from '../src/index.ts';
import { givenCache, type Graph } from '../src/network-denoiser.ts';
import { disposeState } from '../src/transport.ts';
import { noiseOf, options, prompt, randomWeights, tiny } from './networks.ts';

let params: MagiParams;
let graphs: MagiGraphs;
let a: Prompt;
let short: Prompt;
beforeAll(async () => {
  await useEngine('ort');
  params = randomWeights('failures');
  graphs = magiGraphs(tiny);
  a = prompt('a');
  short = { features: tf.zeros([1, 5, 5]), mask: tf.ones([1, 5], 'bool') };
});
afterAll(() => graphs.dispose());

let before: number;
beforeEach(() => void (before = tf.memory().numTensors));

const noise = (chunk: number): Tensor => noiseOf(`noise ${chunk}`, 1);
const stop = (what: string): never => {
  throw new Error(`no ${what}`);
};
const stream = (more: Partial<StreamOptions> = {}) => streamVideo(params, tiny, { ...options({}, { prompts: a }), noise, graphs, ...more });
async function readAll(chunks: ReturnType<typeof stream>): Promise<void> {
  for await (const { frames } of chunks) frames.dispose();
}
/** A session behind the first chunk. */
async function saved(): Promise<Uint8Array> {
  for await (const { frames, save } of stream()) {
    frames.dispose();
    return await save();
  }
  throw new Error('wanted a chunk');
}

describe('whatever throws, no tensor is left behind', () => {
  it.each<[string, () => Partial<StreamOptions>, string]>([
    ['noise', () => ({ noise: (chunk) => (chunk === 1 ? stop('noise') : noise(chunk)) }), 'no noise'],
    ['noise of another size', () => ({ noise: (chunk) => noiseOf('x', chunk === 1 ? 2 : 1) }), 'noise of chunk 1: wanted shape'],
    ['a prompt', () => ({ prompts: (chunk) => (chunk === 1 ? stop('prompt') : a) }), 'no prompt'],
    [
      'a prompt of another length',
      () => ({ prompts: (chunk) => (chunk === 1 ? short : a) }),
      'wanted shape [B=1, L=6, Y=5], got [1, 5, 5]',
    ],
    ['the reader of forwards', () => ({ onForward: ({ state }) => void (state.forward === 4 && stop('more')) }), 'no more'],
    ['a list of prompts that is too short', () => ({ prompts: [a] }), 'got 1'],
  ])('%s', async (_, more, message) => {
    await expect(readAll(stream(more()))).rejects.toThrow(message);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('the network', async () => {
    const weight = tf.zeros([5, 32]);
    const broken = { ...params, final_linear: { linear: { weight } } };
    const chunks = streamVideo(broken, tiny, { ...options({}, { prompts: a }), noise, graphs });
    await expect(readAll(chunks)).rejects.toThrow();
    weight.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('a session whose video cannot be opened, or that is aborted', async () => {
    const session = await saved();
    expect(tf.memory().numTensors).toBe(before);
    await expect(readAll(stream({ session, prompts: [] }))).rejects.toThrow('got 0');
    expect(tf.memory().numTensors).toBe(before);
    const abort = new AbortController();
    const onForward = (): void => abort.abort(new Error('enough'));
    await expect(readAll(stream({ session, signal: abort.signal, onForward }))).rejects.toThrow('enough');
    expect(tf.memory().numTensors).toBe(before);
  });

  it('a sampler in mid-video', () => {
    const sampler = magiSampler(tiny);
    const video = noiseOf('video', 5);
    const prompts = (chunk: number): Prompt => (chunk === 4 ? stop('prompt') : a);
    expect(() => sampler.sample(params, video, options({}, { prompts }))).toThrow('no prompt');
    video.dispose();
    sampler.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('given frames that the network refuses', () => {
    const prefix = tf.zeros([1, 2, 4, 5, 3]);
    expect(() => graphs.open(params, noise, options({ prefixFrames: 2 }, { prompts: a, prefix }))).toThrow('at least 2 × 2 patches');
    prefix.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('and the stream can go on as if nothing had happened', () => {
    const read = (troubled: boolean): Tensor => {
      let trouble = troubled;
      const faulty = (chunk: number): Tensor => {
        if (chunk !== 2 || !trouble) return noise(chunk);
        trouble = false;
        return stop('noise');
      };
      const open = graphs.open(params, faulty, options({}, { prompts: a }));
      const out: Tensor[] = [];
      while (!open.complete)
        try {
          const finished = open.advance();
          if (finished) out.push(finished.frames);
        } catch (error) {
          expect(String(error)).toContain('no noise');
        }
      expect(troubled && trouble).toBe(false);
      const video = tf.concat(out, 1);
      tf.dispose(out);
      return video;
    };
    const [one, other] = [read(true), read(false)];
    expectClose(one, other);
    tf.dispose([one, other]);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('keys and values of given chunks', () => {
  const prefix = (): Tensor => noiseOf('given', 7);
  const video = (history: number[], cleanHistory: number, x: Tensor) =>
    checkVideo(options({ chunks: 9, prefixFrames: 7, history, cleanHistory }, { prompts: a, prefix: x }));
  /** Compiles, counts calls, and fails at call `failAt`. */
  function counting(failAt = Infinity) {
    const made = new Map<string, Compiled<Tree[], Tree>>();
    const count = { calls: 0, dispose: () => made.forEach((each) => each.dispose()) };
    const graph = ((key, make) => {
      if (++count.calls === failAt) stop('graph');
      if (!made.has(key)) made.set(key, compile(make() as (...args: Tree[]) => Tree));
      return made.get(key)!;
    }) as Graph;
    return { graph, count };
  }
  const free = (cache: StreamState['cache']): void => disposeState({ active: [], cache });

  it('are computed only where the cache depends on them, with the same result', () => {
    const x = prefix();
    const { graph, count } = counting();
    const of = (history: number[], cleanHistory: number) => {
      count.calls = 0;
      const cache = givenCache(params, graph, x, video(history, cleanHistory, x), tiny);
      return { cache, calls: count.calls };
    };
    const alone = of([3, 2], 1);
    expect([alone.calls, alone.cache.map(({ chunk }) => chunk)]).toEqual([2, [5, 6]]);
    expect(of([1], 1).calls).toBe(0);
    // Two chunks are kept; through the one layer below the last they depend on one more.
    const some = of([3, 2], 2);
    expect([some.calls, some.cache.map(({ chunk }) => chunk)]).toEqual([3, [5, 6]]);
    const all = of([8, 8], 2);
    expect(all.calls).toBe(7);
    some.cache.forEach(({ layers }, i) =>
      treeMap((leaf, _, other) => (expectClose(leaf, other!, { abs: 1e-6 }), leaf), layers, all.cache[5 + i]!.layers),
    );
    for (const { cache } of [alone, some, all]) free(cache);
    x.dispose();
    count.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  it('are freed if one of them fails', () => {
    const x = prefix();
    const { graph, count } = counting(2);
    expect(() => givenCache(params, graph, x, video([3, 2], 2, x), tiny)).toThrow('no graph');
    x.dispose();
    count.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('the fingerprint of a session', () => {
  const state: StreamState = { forward: 0, active: [], cache: [] };
  const idOf = async (more: Partial<Parameters<typeof encodeSession>[1]>): Promise<string> => {
    const bytes = await encodeSession(state, { params, settings: tiny, options: options({}, { prompts: a }), ...more });
    return new TextDecoder().decode(bytes);
  };

  it('is the same whether defaults are written or left out, and in whatever order', async () => {
    const { gated, rescale, patch, halfChannel, ...written } = tiny;
    expect([gated, rescale, patch, halfChannel]).toEqual([false, 1, [2, 2], false]);
    const turned = Object.fromEntries(Object.entries(written).reverse()) as typeof written;
    const plain = await idOf({});
    expect(await idOf({ settings: turned })).toBe(plain);
    const defaults = {
      kind: 'guided' as const,
      guidance: { previous: [1.5, 1.5, 1.5, 1, 1], edges: [0, 0.0217, 0.1, 0.3, 0.999] },
      pin: 'official' as const,
      aloneWeight: 0.3,
      fillWindow: false,
    };
    expect(await idOf({ options: options({ cleanTime: 0.9999, warp: { kind: 'shifted-square' } }, { prompts: a, ...defaults }) })).toBe(
      plain,
    );
    for (const other of [{ guidance: constantGuidance(1, 1) }, { pin: 'exact' as const }, { aloneWeight: 0.2 }])
      expect(await idOf({ options: options({}, { prompts: a, ...other }) })).not.toBe(plain);
    expect(await idOf({ settings: magiConfig.parse({ ...tiny, rescale: 0.5 }) })).not.toBe(plain);
  });

  it('reads a tree of weights once', async () => {
    const copy = treeMap((leaf) => leaf.clone(), params as unknown as Tree);
    const first = await idOf({ params: copy as unknown as MagiParams });
    treeMap((leaf) => (leaf.dispose(), leaf), copy);
    expect(await idOf({ params: copy as unknown as MagiParams })).toBe(first);
    expect(await idOf({})).toBe(first);
  });
});
