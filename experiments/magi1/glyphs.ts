import { join } from 'node:path';
import { gather, imageSet, type ImageSet, type VideoSet } from '@atelier/datasets';
import { movingGlyphs } from '@atelier/datasets/node';
import {
  chunkPlan,
  magiSampler,
  plannedForwards,
  type MagiParams,
  type Prompt,
  type ScheduleSettings,
  type VideoOptions,
} from '@atelier/magi1';
import { disposeTree, tf, type Rng, type Tree } from '@atelier/tensor';
import { mean } from 'd3-array';
import { trainJudge, type Judge } from '../src/evaluation/classifier.ts';
import { floats } from '../src/evaluation/in-batches.ts';
import { heatMap } from '../src/pictures/heat-map.ts';
import { lineChart } from '../src/pictures/line-chart.ts';
import { animation, filmStrip } from '../src/pictures/videos.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import type { Config, Glyphs } from './config.ts';
import { classText, networkFor, trainOnClips, type ClipSize } from './network.ts';
import { streamToFolder, type KeptChunk } from './stream.ts';

export type GlyphFindings = { switched?: number; moving?: number };
type Setting = { params: MagiParams; judge: Judge; size: ClipSize; keys: Glyphs; rng: Rng };

/** Trains a network on moving letters. Then makes videos of every letter, videos whose prompt changes, and a long stream. */
export async function runGlyphs(context: RunContext<Config>): Promise<GlyphFindings> {
  const keys = context.config.glyphs;
  const rng = context.rng.child('glyphs');
  const frames = keys.chunks * keys.chunkFrames;
  const set = movingGlyphs(rng.child('set'), keys.clips, { ...keys.data, frames });
  const { height, width, classes } = set;
  const size = { frames, height, width, classes };
  const draw = (at: Rng, count: number) => gather(set, at.integers(count, 0, set.count));
  const training = { law: { kind: 'window' as const, window: keys.window }, ranges: [0, 2], textDropout: 0.1, aloneShare: 0.1 };
  const params = await trainOnClips(context, 'glyphs', rng, keys, size, draw, training);
  const others = movingGlyphs(rng.child('others'), 200, { ...keys.data, frames: 2 });
  const judge = await trainJudge(context, { train: framesOf(set), reference: framesOf(others) }, keys.classifier);
  const setting = { params, judge, size, keys, rng };
  const found: GlyphFindings = {};
  if (context.config.parts.includes('glyphs')) {
    await ofEveryLetter(context, setting, set.classNames);
    found.switched = await withSwitch(context, setting, set.classNames);
  }
  if (context.config.parts.includes('stream')) found.moving = await longStream(context, setting);
  judge.dispose();
  disposeTree(params as unknown as Tree);
  return found;
}

/** All frames of the first videos of a set as single images. */
function framesOf(set: VideoSet): ImageSet {
  const { frames, ...rest } = set;
  const videos = Math.min(set.count, 600);
  const pixels = set.pixels.slice(0, videos * frames * set.height * set.width);
  const labels = Int32Array.from({ length: videos * frames }, (_, i) => set.labels[Math.floor(i / frames)]!);
  return imageSet({ ...rest, pixels, labels, count: videos * frames });
}

const scheduleOf = ({ chunkFrames, window, steps, history }: Glyphs, chunks: number): ScheduleSettings => ({
  chunks,
  chunkFrames,
  window,
  steps,
  history,
});

export const optionsOf = (keys: Glyphs, chunks: number, prompts: VideoOptions['prompts']): VideoOptions => ({
  schedule: scheduleOf(keys, chunks),
  prompts,
  guidance: keys.guidance,
});

async function ofEveryLetter(
  context: RunContext<Config>,
  { params, judge, size, keys, rng }: Setting,
  names: readonly string[],
): Promise<void> {
  const y = Array.from({ length: keys.videos * size.classes }, (_, i) => Math.floor(i / keys.videos));
  const sampler = magiSampler(networkFor(keys, size));
  const videos = tf.tidy(() => {
    const noise = rng.child('noise').normal([y.length, size.frames, size.height, size.width, 1]);
    return sampler.sample(params, noise, optionsOf(keys, keys.chunks, classText(y, size.classes))).dataSync() as Float32Array;
  });
  sampler.dispose();
  const host = floats(videos, size.frames, size.height, size.width, 1);
  const rowLabels = y.map((label) => names[label]!);
  await context.figure('glyphs', filmStrip(host, { rowLabels, tile: 40 }), 'Videos of moving letters from noise; the prompt is the letter');
  await context.figure('glyphs-animated', animation(host, { columns: keys.videos, tile: 64 }), 'The same videos, animated');
  const { classes } = await judge.look(videos);
  const right = Array.from(classes, (found, i) => Number(found === y[Math.floor(i / size.frames)]));
  context.note(`the classifier sees the letter of the prompt in ${(100 * mean(right)!).toFixed(1)} % of the frames`);
}

/** Makes videos whose prompt changes in the middle. Returns the share of frames with the new letter, from the second chunk after the switch on. */
async function withSwitch(
  context: RunContext<Config>,
  { params, judge, size, keys, rng }: Setting,
  names: readonly string[],
): Promise<number> {
  const [chunks, half] = [keys.switched, Math.floor(keys.switched / 2)];
  const pairs = Array.from({ length: size.classes }, (_, a) => [a, (a + 1) % size.classes] as const);
  const [before, after] = [0, 1].map((i) => classText(pairs.map((pair) => pair[i]!), size.classes)) as [Prompt, Prompt]; // prettier-ignore
  const sampler = magiSampler(networkFor(keys, size));
  const frames = chunks * keys.chunkFrames;
  const videos = tf.tidy(() => {
    const noise = rng.child('switch').normal([pairs.length, frames, size.height, size.width, 1]);
    return sampler
      .sample(
        params,
        noise,
        optionsOf(keys, chunks, (chunk) => (chunk < half ? before : after)),
      )
      .dataSync() as Float32Array;
  });
  sampler.dispose();
  tf.dispose([before.features, before.mask, after.features, after.mask]);
  const host = floats(videos, frames, size.height, size.width, 1);
  const rowLabels = pairs.map(([a, b]) => `${names[a]!} to ${names[b]!}`);
  await context.figure('switch', filmStrip(host, { rowLabels, tile: 40 }), `The prompt changes after frame ${half * keys.chunkFrames}`);
  await context.figure('switch-animated', animation(host, { columns: pairs.length, tile: 64 }), 'The same videos, animated');
  const { classes } = await judge.look(videos);
  const share = (from: number): number => mean(Array.from(classes, (found, i) => (i % frames >= from ? Number(found === pairs[Math.floor(i / frames)]![1]) : NaN)).filter((one) => !Number.isNaN(one)))!; // prettier-ignore
  return share((half + 1) * keys.chunkFrames);
}

/**
 * Makes one long video chunk by chunk, and writes every chunk and a film strip of it when it is finished. A run that was stopped goes on after the
 * last chunk.
 */
async function longStream(context: RunContext<Config>, { params, judge, size, keys, rng }: Setting): Promise<number> {
  const label = 0;
  const prompt = classText([label], size.classes);
  const { height, width } = size;
  const shape = [1, keys.chunkFrames, height, width, 1] as const;
  const chunks = await streamToFolder(
    join(context.folder, 'stream'),
    {
      ...optionsOf(keys, keys.stream, prompt),
      params,
      config: networkFor(keys, size),
      noise: (chunk) => rng.child(`stream ${chunk}`).normal(shape),
      signal: context.signal,
      progress: context.progress,
      fillWindow: true,
    },
    (chunk, values) => context.samples('stream', chunk, filmStrip(floats(values, keys.chunkFrames, height, width, 1), { tile: 64 })),
  );
  tf.dispose([prompt.features, prompt.mask]);
  const video = new Float32Array(chunks.length * chunks[0]!.values.length);
  chunks.forEach(({ values }, i) => video.set(values, i * values.length));
  await drawStream(context, { video, chunks, keys, size });
  const [early, late] = [chunks[7] ?? chunks[0]!, chunks.at(-1 - keys.window)!];
  context.note(`tensors after chunk 8 and after the last but ${keys.window}: ${early.tensors}, ${late.tensors}`);
  const { classes } = await judge.look(video);
  return movingShare(video, classes, label, size);
}

/** The share of the frames of the last quarter that show the right letter, with a centre that moved by more than 0.1 pixels since two frames before. */
function movingShare(video: Float32Array, classes: Int32Array, label: number, { height, width }: ClipSize): number {
  const size = height * width;
  const frames = video.length / size;
  const centres = Array.from({ length: frames }, (_, f) => {
    let [mass, x, y] = [1e-9, 0, 0];
    for (let i = 0; i < size; i++) {
      const ink = Math.max(0, video[f * size + i]!);
      mass += ink;
      x += ink * (i % width);
      y += ink * Math.floor(i / width);
    }
    return [x / mass, y / mass] as const;
  });
  const last = centres.map((_, f) => f).slice(Math.floor(frames * 0.75));
  return mean(last.map((f) => Number(classes[f] === label && Math.hypot(centres[f]![0] - centres[f - 2]![0], centres[f]![1] - centres[f - 2]![1]) > 0.1)))!; // prettier-ignore
}

type Streamed = { video: Float32Array; chunks: readonly KeptChunk[]; keys: Glyphs; size: ClipSize };

async function drawStream(context: RunContext<Config>, { video, chunks, keys, size }: Streamed): Promise<void> {
  const { height, width } = size;
  const frames = video.length / (height * width);
  // Rows of the strip are pieces of the one video.
  const rows = 8;
  const kept = video.slice(0, Math.floor(frames / rows) * rows * height * width);
  const host = floats(kept, kept.length / (rows * height * width), height, width, 1);
  const rowLabels = Array.from({ length: rows }, (_, i) => `frame ${1 + (i * frames) / rows}`);
  await context.figure('stream', filmStrip(host, { rowLabels, tile: 40 }), 'One long stream; every row goes on where the row above ends');
  await context.figure('stream-animated', animation(floats(video, frames, height, width, 1), { tile: 96 }), 'The stream, animated');
  const shown = Math.min(16, keys.stream);
  const plan = chunkPlan(scheduleOf(keys, keys.stream));
  const columns = plan.perStage * (shown + keys.window - 1);
  const values = new Float32Array(shown * columns).fill(1e-3);
  for (const { index, active } of plannedForwards(plan))
    for (const { chunk, step } of active)
      if (chunk < shown && index < columns) values[chunk * columns + index] = Math.max(1e-3, plan.times.t[step + 1]!);
  const options = { x: 'forward', y: 'chunk', scale: 'time reached', range: [1e-3, 1] as const, first: [1, 1] as const };
  await context.figure(
    'staircase',
    heatMap([{ title: 'Denoising staircase', values, rows: shown, columns }], options),
    'How far each chunk is after each forward',
  );
  const line = (name: string, all: readonly number[]) => ({ name, points: all.map((value, i) => [i + 1, value] as const) });
  await context.figure(
    'time',
    lineChart(
      [
        line(
          'ms',
          chunks.map(({ ms }) => ms),
        ),
      ],
      { x: 'chunk', y: 'ms to the chunk' },
    ),
    'Time from chunk to chunk',
  );
  await context.figure(
    'memory',
    lineChart(
      [
        line(
          'MiB',
          chunks.map((one) => one.memory),
        ),
      ],
      { x: 'chunk', y: 'resident memory, MiB' },
    ),
    'Memory along the stream',
  );
}
