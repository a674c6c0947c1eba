import { tf, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose, relativeError } from '@atelier/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { constantGuidance, magiGraphs, magiSampler, type MagiParams, type ScheduleSettings, type VideoOptions } from '../src/index.ts';
import { noiseOf, options, prompt, randomWeights, tiny } from './networks.ts';

let params: MagiParams;
const sampler = magiSampler(tiny);
const sample = (noise: Tensor, of: VideoOptions): Tensor => sampler.sample(params, noise, of);
const frames = (x: Tensor, from: number, count: number): Tensor =>
  tf.slice(x, [0, from, 0, 0, 0], [x.shape[0]!, count, ...x.shape.slice(2)]);
beforeAll(async () => {
  await useEngine('ort');
  params = randomWeights('sampling');
});
afterAll(() => sampler.dispose());

describe('a video of chunks', () => {
  it('begins like a shorter one from the same noise', () => {
    const noise = noiseOf('prefix', 5);
    expect(relativeError(frames(sample(noise, options()), 0, 3), sample(frames(noise, 0, 3), options({ chunks: 3 })))).toBeLessThan(2e-5);
  });

  it('does not change where a later prompt changes', () => {
    const noise = noiseOf('later', 4);
    const [a, b] = [prompt('a'), prompt('b')];
    const [one, other] = [
      [a, a, a, a],
      [a, a, b, b],
    ].map((prompts) => sample(noise, options({ chunks: 4 }, { prompts })));
    expectClose(frames(one!, 0, 2), frames(other!, 0, 2));
    expect(relativeError(frames(other!, 2, 2), frames(one!, 2, 2))).toBeGreaterThan(1e-2);
  });

  it('whose chunks see only themselves is made of independent chunks, whatever the window and the scale of earlier chunks', () => {
    const noise = noiseOf('alone', 3);
    const alone = (schedule: Partial<ScheduleSettings>, previous: number) =>
      options({ history: [1], steps: 4, ...schedule }, { guidance: constantGuidance(previous, 2) });
    const whole = sample(noise, alone({ chunks: 3 }, 1.5));
    for (const other of [alone({ chunks: 3, window: 4 }, 1.5), alone({ chunks: 3, window: 1 }, 1), alone({ chunks: 3 }, 3)])
      expect(relativeError(sample(noise, other), whole)).toBeLessThan(2e-5);
    // Positions matter only relative to each other, so chunk 2 may as well be the first.
    expect(relativeError(sample(frames(noise, 2, 1), alone({ chunks: 1 }, 1)), frames(whole, 2, 1))).toBeLessThan(2e-5);
  });

  it('does not depend on whether the last windows are filled up, but then needs no further graph', () => {
    const noise = noiseOf('fill', 6);
    const graphs = magiGraphs(tiny);
    const made: number[] = [];
    const run = (fillWindow: boolean): Tensor => {
      const stream = graphs.open(params, (chunk) => frames(noise, chunk, 1), options({ chunks: 6, window: 2 }, { fillWindow }));
      const out: Tensor[] = [];
      while (!stream.complete) {
        out.push(...[stream.advance()?.frames ?? []].flat());
        made.push(graphs.graphs);
      }
      stream.dispose();
      return tf.concat(out, 1);
    };
    const filled = run(true);
    // Window 2, two forwards a stage: from the third stage on every forward has been seen.
    expect(made.at(-1)).toBe(made[2 * 3 - 1]);
    expect(relativeError(run(false), filled)).toBeLessThan(2e-5);
    expect(graphs.graphs).toBeGreaterThan(made[made.length / 2 - 1]!);
    graphs.dispose();
  });

  it('of a batch is the same as its samples apart', () => {
    const noise = noiseOf('batch', 3, 2);
    const both = sample(noise, options({ chunks: 3 }, { prompts: prompt('both', 4, 2) }));
    const { features, mask } = prompt('both', 4, 2);
    const second = { features: tf.slice(features, [1, 0, 0], [1, 6, 5]), mask: tf.slice(mask, [1, 0], [1, 6]) };
    const single = sample(tf.slice(noise, [1, 0, 0, 0, 0], [1, 3, 4, 6, 3]), options({ chunks: 3 }, { prompts: second }));
    expect(relativeError(single, tf.slice(both, [1, 0, 0, 0, 0], [1, 3, 4, 6, 3]))).toBeLessThan(2e-5);
  });

  it('from an image keeps the image if it is pinned exactly, and moves it by the last step if as in the official code', () => {
    const [noise, image] = [noiseOf('image', 3 * 2), noiseOf('given', 1)];
    const of = (pin: 'official' | 'exact') => options({ chunks: 3, chunkFrames: 2, prefixFrames: 1 }, { prefix: image, pin });
    const [official, exact] = [sample(noise, of('official')), sample(noise, of('exact'))];
    expectClose(frames(exact, 0, 1), image);
    expect(relativeError(frames(official, 0, 1), image)).toBeGreaterThan(1e-2);
    expectClose(frames(official, 1, 5), frames(exact, 1, 5));
  });

  it('goes on from a video of any length, and keeps no more of it than it sees', () => {
    const graphs = magiGraphs(tiny);
    for (const prefixFrames of [2, 7, 8]) {
      const chunks = 6;
      const schedule = { chunks, chunkFrames: 2, prefixFrames, history: [3, 2], cleanHistory: 2 };
      const stream = graphs.open(params, () => noiseOf('go on', 2), options(schedule, { prefix: noiseOf('video', prefixFrames) }));
      expect(stream.state.cache.length).toBe(Math.min(2, Math.floor(prefixFrames / 2)));
      let made = 0;
      while (!stream.complete) made += stream.advance()?.frames.shape[1] ?? 0;
      expect(made).toBe(chunks * 2 - prefixFrames);
    }
    graphs.dispose();
  });
});
