import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chunkPlan, initMagi, type StreamOptions } from '@atelier/magi1';
import { disposeTree, Rng, tf, treeMap, useEngine, type Tree } from '@atelier/tensor';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { classText, networkFor } from '../magi1/network.ts';
import { magi1 } from '../magi1/index.ts';
import { staircaseText, streamToFolder, type KeptChunk } from '../magi1/stream.ts';
import { resolveConfig } from '../src/runner/config.ts';
import { makeProgress } from '../src/runner/progress.ts';
import { temporaryFolder } from './child.ts';

const size = { frames: 2, height: 16, width: 16, classes: 2 };
let stream: Omit<Parameters<typeof streamToFolder>[1], 'progress'>;
beforeAll(async () => {
  await useEngine('ort');
  const { glyphs } = resolveConfig(magi1, 'stream', ['glyphs={width: 16, layers: 1, headDim: 8, patch: [4, 4]}']);
  const config = networkFor(glyphs, size);
  const rng = new Rng('stream');
  const start = initMagi(rng, config) as unknown as Tree;
  const params = treeMap((leaf, path) => tf.tidy(() => tf.add(leaf, tf.mul(rng.child(path).normal(leaf.shape), 0.1))), start);
  disposeTree(start);
  stream = {
    params: params as never,
    config,
    schedule: { chunks: 5, chunkFrames: 1, window: 2, steps: 4, history: [2] },
    prompts: classText([0], 2),
    noise: (chunk) => rng.child(`noise ${chunk}`).normal([1, 1, 16, 16, 1]),
  };
});
afterAll(() => disposeTree(stream.params as unknown as Tree));

const run = (
  folder: string,
  more: Partial<StreamOptions> = {},
  onChunk?: (chunk: number) => Promise<void>,
  lines: string[] = [],
): Promise<KeptChunk[]> =>
  streamToFolder(folder, { ...stream, ...more, progress: makeProgress({ write: (text) => lines.push(text) }, 0) }, onChunk);
const filesOf = (folder: string): Record<string, string> =>
  Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name)).toString('base64')]));
const valuesOf = (chunks: KeptChunk[]): number[][] => chunks.map(({ values }) => Array.from(values));

it('writes every chunk as it comes, goes on bit for bit after it was stopped, and refuses a damaged session without changing a file', async () => {
  const [whole, parts] = [temporaryFolder(), temporaryFolder()];
  const lines: string[] = [];
  const all = valuesOf(await run(whole, {}, undefined, lines));
  expect(all).toHaveLength(5);
  expect(lines.join('')).toContain('chunks 2-3: 3 1 of 4');

  const stop = new AbortController();
  const stopped = run(parts, { signal: stop.signal }, (chunk) =>
    Promise.resolve(chunk === 1 ? stop.abort(new Error('enough')) : undefined),
  );
  await expect(stopped).rejects.toThrow('enough');
  expect(Object.keys(filesOf(parts)).sort()).toEqual(['chunk-000000.safetensors', 'chunk-000001.safetensors', 'session.safetensors']);

  const path = join(parts, 'session.safetensors');
  const good = readFileSync(path);
  const bad = Buffer.from(good);
  bad[bad.length - 3]! ^= 1;
  writeFileSync(path, bad);
  const before = filesOf(parts);
  await expect(run(parts)).rejects.toThrow('the file is damaged');
  expect(filesOf(parts)).toEqual(before);
  writeFileSync(path, good);

  const later: number[] = [];
  expect(valuesOf(await run(parts, {}, (chunk) => Promise.resolve(void later.push(chunk))))).toEqual(all);
  expect(later).toEqual([2, 3, 4]);
  // A stream that is complete is only read.
  expect(valuesOf(await run(parts, { noise: () => expect.unreachable() }))).toEqual(all);
});

it('the progress line says how far every chunk of the window is, in less than half of a line', () => {
  const plan = chunkPlan({ chunks: 200, chunkFrames: 1, window: 4, steps: 16 });
  expect(staircaseText(plan, 3)).toBe('chunks 1-1: 3 of 16');
  expect(staircaseText(plan, 16)).toBe('chunks 1-4: 16 12 8 4 of 16');
  expect(staircaseText(plan, plan.forwards - 1)).toBe('chunks 200-200: 15 of 16');
  expect(Math.max(...Array.from({ length: plan.forwards }, (_, g) => staircaseText(plan, g).length))).toBeLessThan(40);
});
