import { tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose } from '@atelier/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeSession, magiGraphs, magiSampler, streamVideo, type MagiGraphs, type MagiParams, type StreamOptions } from '../src/index.ts';
import { noiseOf, options, prompt, randomWeights, tiny } from './networks.ts';

let params: MagiParams;
let graphs: MagiGraphs;
beforeAll(async () => {
  await useEngine('ort');
  params = randomWeights('stream');
  graphs = magiGraphs(tiny);
});
afterAll(() => graphs.dispose());

const a = prompt('a');
const video = (more: Partial<StreamOptions> = {}): StreamOptions => ({
  ...options({}, { prompts: a }),
  noise: (chunk) => noiseOf(`noise ${chunk}`, 1),
  graphs,
  ...more,
});
const stream = (more: Partial<StreamOptions> = {}) => streamVideo(params, tiny, video(more));
/** All chunks of a stream as numbers. */
async function read(chunks: ReturnType<typeof stream>): Promise<Float32Array[]> {
  const out: Float32Array[] = [];
  for await (const { frames } of chunks) {
    out.push(frames.dataSync() as Float32Array);
    frames.dispose();
  }
  return out;
}

describe('a stream', () => {
  it('gives the chunks of the sampler, each after the scheduled number of forwards and none before it is asked for', async () => {
    const forwards: number[] = [];
    let made = 0;
    const chunks = stream({ onForward: () => void made++ });
    expect(made).toBe(0);
    const parts: Tensor[] = [];
    for await (const { chunk, frames, forwards: count } of chunks) {
      expect(chunk).toBe(parts.length);
      forwards.push(count);
      parts.push(frames);
      const now = made;
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(made).toBe(now); // nothing goes on while the reader does something else
    }
    // Four steps in a window of two: the first chunk after 4 forwards, then one after every 2.
    expect(forwards).toEqual([4, 6, 8, 10, 12]);
    const sampler = magiSampler(tiny);
    const noise = tf.concat([0, 1, 2, 3, 4].map((chunk) => noiseOf(`noise ${chunk}`, 1)), 1); // prettier-ignore
    expectClose(tf.concat(parts, 1), sampler.sample(params, noise, options({}, { prompts: a })));
    sampler.dispose();
  });

  it('keeps a bounded number of tensors, and none behind its end', async () => {
    const counts: number[] = [];
    const before = tf.memory().numTensors;
    for await (const { frames } of stream({ schedule: { ...options({}, { prompts: a }).schedule, chunks: 12 } })) {
      frames.dispose();
      counts.push(tf.memory().numTensors);
    }
    expect(new Set(counts.slice(2, -2)).size).toBe(1);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('that is left or aborted leaves nothing behind', async () => {
    const before = tf.memory().numTensors;
    for await (const { frames } of stream()) {
      frames.dispose();
      break;
    }
    expect(tf.memory().numTensors).toBe(before);
    const stop = new AbortController();
    let made = 0;
    const aborted = read(stream({ signal: stop.signal, onForward: () => ++made === 5 && stop.abort(new Error('enough')) }));
    await expect(aborted).rejects.toThrow('enough');
    expect(made).toBe(5);
    expect(tf.memory().numTensors).toBe(before);
    await expect(read(stream({ signal: AbortSignal.abort(new Error('at once')) }))).rejects.toThrow('at once');
    expect(tf.memory().numTensors).toBe(before);
  });

  it('asks for a prompt when a chunk enters the window', async () => {
    const asked: number[] = [];
    let finished = 0;
    for await (const { frames } of stream({ prompts: (chunk) => (asked.push(chunk), a) })) {
      frames.dispose();
      // When chunk j is finished, chunk j + 1 is half done and chunk j + 2 has not been asked for.
      expect(Math.max(...asked)).toBe(Math.min(4, ++finished));
    }
    expect(asked).toEqual([0, 1, 2, 3, 4]);
  });

  it('that is saved goes on bit for bit, after any chunk', async () => {
    const whole = await read(stream());
    for (const stopAt of [0, 2]) {
      let saved: Uint8Array | undefined;
      for await (const { chunk, frames, save } of stream()) {
        frames.dispose();
        if (chunk !== stopAt) continue;
        saved = await save();
        break;
      }
      const rest = await read(stream({ session: saved! }));
      expect(rest.map((values) => Array.from(values))).toEqual(whole.slice(stopAt + 1).map((values) => Array.from(values)));
    }
  });

  it('refuses a session that is damaged, or of another model or video', async () => {
    let saved: Uint8Array | undefined;
    for await (const { frames, save } of stream()) {
      frames.dispose();
      saved = await save();
      break;
    }
    const session = { params, settings: tiny, options: options({}, { prompts: a }) };
    const bytes = saved!;
    const damaged = bytes.slice();
    damaged[bytes.length - 3]! ^= 1;
    await expect(decodeSession(damaged, session)).rejects.toThrow('the file is damaged');
    await expect(decodeSession(bytes.slice(0, -10), session)).rejects.toThrow('decodeSession');
    await expect(decodeSession(new Uint8Array(4), session)).rejects.toThrow('wanted a safetensors file');
    await expect(decodeSession(bytes, { ...session, settings: { ...tiny, nullTokens: 2 } })).rejects.toThrow(
      'wanted a session of this model',
    );
    const other = randomWeights('other');
    await expect(decodeSession(bytes, { ...session, params: other })).rejects.toThrow('wanted a session of this model');
    await expect(decodeSession(bytes, { ...session, options: options({ steps: 8 }, { prompts: a }) })).rejects.toThrow(
      'wanted a session of the video',
    );
    await expect(read(stream({ session: damaged }))).rejects.toThrow('the file is damaged');
  });
});
