import { interpolate, uniformGrid, velocitySampler } from '@atelier/diffusion';
import { gather, type VideoSet } from '@atelier/datasets';
import { movingGlyphs } from '@atelier/datasets/node';
import { compile, disposeTree, tf, toHost, toTensor, type HostTensor, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { applyWan, tokenGrid, type Grid, type WanParams, type WanSettings } from '@atelier/vsa';
import { imagesOf } from '../src/data/images.ts';
import { animation, filmStrip } from '../src/pictures/videos.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import { schedulesOf } from '../src/training/optimization.ts';
import { trainNetwork } from '../src/training/train-network.ts';
import type { Config, Glyphs } from './config.ts';
import { initNetwork, massOf, mixerOf, type LayerView } from './network.ts';
import { selectionPicture } from './selection-picture.ts';
import { drawNoise, meanError, operations, optimizer, TIMES, velocityError, type Batch } from './training.ts';

export const TILE: Grid = [4, 4, 4];
const PATCH: [number, number, number] = [1, 2, 2];
/** Videos that are drawn, two of each class if there are four. */
const DRAWN = 8;

/** Trains full and sparse attention on moving letters with the same number of counted operations, and shows what they sample. */
export async function runGlyphs(context: RunContext<Config>): Promise<void> {
  const { glyphs } = context.config;
  const rng = context.rng.child('glyphs');
  const draw = (name: string, count: number): VideoSet =>
    movingGlyphs(rng.child(name), count, { frames: glyphs.frames, height: glyphs.side, width: glyphs.side, characters: glyphs.characters });
  const [train, held] = [draw('videos', glyphs.videos), draw('held out', glyphs.judged)];
  const tokens = (glyphs.frames * glyphs.side ** 2) / 4;
  const each = operations(settingsOf(glyphs, true), { tokens, volume: TILE.reduce((a, b) => a * b, 1), keep: glyphs.keep });
  const steps = { full: glyphs.training.steps, vsa: Math.round((glyphs.training.steps * each.full) / each.vsa) };
  const judged = heldOut(held, rng.child('judged'));
  const errors = { full: NaN, vsa: NaN };
  const noise = rng.child('samples').normal([DRAWN, glyphs.frames, glyphs.side, glyphs.side, 1]);
  const labels = Int32Array.from({ length: DRAWN }, (_, i) => i % glyphs.characters.length);
  try {
    for (const variant of ['full', 'vsa'] as const) {
      const settings = settingsOf(glyphs, variant === 'vsa');
      const mix = mixerOf(variant, TILE, glyphs.keep);
      const { params } = await trainNetwork<WanParams, ReturnType<typeof optimizer.init>, Batch>({
        context,
        name: `glyphs-${variant}`,
        steps: steps[variant],
        rng: rng.child('steps'),
        optimizer,
        learningRate: schedulesOf(glyphs.training).learningRate,
        init: () => initNetwork(rng.child('init'), settings),
        batch: (stepRng) => batchOf(train, stepRng, glyphs.training.batch),
        loss: (at, batch) => ({ loss: tf.mean(velocityError(at, batch, settings, mix)) }),
      });
      try {
        const error = await context.stage(`judge-glyphs-${variant}`, () => meanError(params, judged, settings, mix));
        const samples = await sample(params, noise, labels, glyphs, variant);
        context.note(`${variant}: ${steps[variant]} steps, error ${error.toFixed(4)}`);
        await context.figure(
          `samples-${variant}`,
          filmStrip(samples, {
            rowLabels: [...labels].map((label) => glyphs.characters[label]!),
            title: variant === 'full' ? 'full attention' : 'sparse attention',
          }),
          `Samples after ${steps[variant]} steps, held-out error ${error.toFixed(4)}.`,
        );
        await context.figure(`animation-${variant}`, animation(samples, { columns: 4, tile: 96 }), 'The same samples, moving.');
        if (variant === 'vsa') await drawSelections(context, params, judged[1]!);
        errors[variant] = error;
      } finally {
        disposeTree(params);
      }
    }
    await context.figure('data', filmStrip(toHostVideos(held), { title: 'held-out videos' }), 'Videos of the data set.');
    const detail = `full ${errors.full.toFixed(4)} after ${steps.full} steps, sparse ${errors.vsa.toFixed(4)} after ${steps.vsa}`;
    await context.claim('glyphs-equal-flops', errors.vsa - errors.full, detail);
  } finally {
    noise.dispose();
    disposeTree(judged as unknown as Tree);
  }
}

/** Settings of the network of moving letters. */
export const settingsOf = ({ heads, headDim, ffnDim, layers, characters }: Glyphs, gate: boolean): WanSettings => ({
  heads,
  headDim,
  ffnDim,
  layers,
  inChannels: 1,
  textDim: characters.length,
  patch: PATCH,
  tile: [...TILE] as [number, number, number],
  gate,
});

/** A class as a text of one token, 1 at the class: [B, 1, classes]. */
export const textOf = (y: Tensor, classes: number): Tensor => tf.expandDims(tf.oneHot(y as tf.Tensor1D, classes, 1, 0, 'float32'), 1);
const oneHot = (labels: Int32Array, classes: number): Tensor => tf.tidy(() => textOf(tf.tensor1d(labels, 'int32'), classes));

const shapeOf = ({ frames, height, width, channels }: VideoSet, count: number): number[] => [count, frames, height, width, channels];

function batchOf(set: VideoSet, rng: Rng, count: number): Batch {
  const { x, y } = gather(set, rng.child('which').integers(count, 0, set.count));
  const x0 = toTensor({ dtype: 'float32', shape: shapeOf(set, count), data: x });
  return { x0, ...drawNoise(rng, x0.shape), text: oneHot(y, set.classes) };
}

const toHostVideos = (set: VideoSet): HostTensor => ({
  dtype: 'float32',
  shape: shapeOf(set, set.count),
  data: imagesOf(set).x,
});

function heldOut(set: VideoSet, rng: Rng): Batch[] {
  return TIMES.map((time) => {
    const x0 = toTensor(toHostVideos(set));
    return { x0, e: rng.child(String(time)).normal(x0.shape), t: tf.fill([set.count], time), text: oneHot(set.labels, set.classes) };
  });
}

/** Samples of the classes from fixed noise. */
async function sample(params: WanParams, noise: Tensor, labels: Int32Array, glyphs: Glyphs, variant: 'full' | 'vsa'): Promise<HostTensor> {
  const settings = settingsOf(glyphs, variant === 'vsa');
  const mix = mixerOf(variant, TILE, glyphs.keep);
  const sampler = velocitySampler(
    (at: WanParams) => (z, t, y) => applyWan(at, z, { t, text: textOf(y!, glyphs.characters.length) }, settings, mix),
  );
  const y = tf.tensor1d(labels, 'int32');
  const drawn = sampler.sample(params, noise, { grid: uniformGrid(glyphs.samplingSteps), y });
  try {
    return await toHost(drawn);
  } finally {
    tf.dispose([drawn, y]);
    sampler.dispose();
  }
}

/** The tiles that the first layer and the last one select for a query tile in the middle of a video. */
async function drawSelections(context: RunContext<Config>, params: WanParams, batch: Batch): Promise<void> {
  const { glyphs } = context.config;
  const settings = settingsOf(glyphs, true);
  const run = compile((at: WanParams, { x0, e, t, text }: Batch) => {
    const views: LayerView[] = [];
    const out = applyWan(
      at,
      interpolate(x0, e, t),
      { t, text },
      settings,
      mixerOf('vsa', TILE, glyphs.keep, (view) => views.push(view)),
    );
    return { lists: views.map(({ lists }) => lists), mass: views.map((view) => massOf(view, TILE)), out: tf.sum(out) };
  });
  const found = run(params, batch);
  try {
    const video = await toHost(batch.x0);
    const grid = tokenGrid(batch.x0, PATCH, 'glyphs');
    const lists = await Promise.all(found.lists.map((list) => toHost(list)));
    const mass = await Promise.all(found.mass.map(async (one) => (await toHost(one)).data[0] as number));
    const picture = selectionPicture(video, lists, { grid, tile: TILE, patch: PATCH });
    const shares = mass.map((share) => share.toFixed(2)).join(', ');
    await context.figure(
      'selection',
      picture,
      `A query tile (orange) and the tiles that its first head selects (blue), one row per layer. Captured mass by layer: ${shares}.`,
    );
  } finally {
    tf.dispose(found as unknown as tf.TensorContainer);
    run.dispose();
  }
}
