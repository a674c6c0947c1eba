import { adamW } from '@atelier/nn';
import {
  constantGuidance,
  DISTILLATION_CYCLE,
  distillationLoss,
  drawDistillation,
  magiSampler,
  type DistillationBatch,
  type GuidanceSettings,
  type MagiParams,
  type ScheduleSettings,
  type VideoOptions,
} from '@atelier/magi1';
import { disposeTree, tf, treeMap, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { mean } from 'd3-array';
import { lineChart } from '../src/pictures/line-chart.ts';
import { filmStrip } from '../src/pictures/videos.ts';
import { floats } from '../src/evaluation/in-batches.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import { trainNetwork } from '../src/training/train-network.ts';
import type { Config, Strip } from './config.ts';
import { chunkTexts, classText, networkFor, trainOnClips } from './network.ts';
import { clipErrors, STRIP, stripSize, walks } from './walks.ts';

/** How well a network continues clips. Errors are mean distances of the bump's centre from its true place, in widths of the strip. */
type Judged = {
  /** Error by KV range. */
  history: Record<string, number>;
  /** Error if only the first frame is given. */
  image: number;
  /** Error of each new chunk, with the longest range. */
  byChunk: number[];
  /** Error with the longest range, if one chunk is made after the other (W = 1). */
  sequential: number;
  /** With strong guidance only below t = 0.3 (`early`) and at all times (`always`): squared error of the pixels, and height of the brightest pixel. */
  guided: { early: [squared: number, peak: number]; always: [squared: number, peak: number] };
  /** Height of the brightest pixel in true clips. */
  truePeak: number;
  /** Forwards of the network, counted: with the window, and one chunk after the other. */
  forwards: [number, number];
};
export type StripFindings = { window: Judged[]; detached: number[]; distilled?: { student: number; teacher: number } };

const TRAINING = { law: { kind: 'window' as const }, aloneShare: 0.2, textDropout: 0.1, firstFrameProbability: 0.3 };
export const PLAIN = constantGuidance(1, 1);

/** Trains the networks of the part `strip`, and measures how well they continue clips. */
export async function runStrip(context: RunContext<Config>): Promise<StripFindings> {
  const { strip } = context.config;
  const frames = strip.chunks * strip.chunkFrames;
  const found: StripFindings = { window: [], detached: [] };
  for (let repeat = 0; repeat < strip.repeats; repeat++)
    for (const variant of strip.variants) {
      const rng = context.rng.child(`strip ${repeat}`);
      const name = `strip-${variant}-${repeat}`;
      const training = { ...TRAINING, ranges: strip.trained, detachClean: variant === 'detached' };
      const params = await trainOnClips(context, name, rng, strip, stripSize(frames), (at, count) => walks(at, count, frames), training);
      const judged = await context.stage(`${name}-judged`, () => judge(params, context, rng.child('judge'), variant === 'window'));
      if (variant === 'detached') found.detached.push(judged.history[String(Math.max(...strip.histories))]!);
      else found.window.push(judged);
      if (variant === 'window' && repeat === 0) {
        await draw(params, context, rng.child('draw'));
        if (strip.distillation.steps > 0) found.distilled = await distil(params, context, rng.child('distil'));
      }
      disposeTree(params as unknown as Tree);
    }
  if (found.window.length > 0) await chart(context, found);
  return found;
}

export const scheduleOf = (
  { chunks, chunkFrames, window, steps }: Strip,
  history: number,
  more: Partial<ScheduleSettings> = {},
): ScheduleSettings => ({
  chunks,
  chunkFrames,
  window,
  steps,
  history: [history],
  cleanHistory: -1,
  ...more,
});

async function judge(params: MagiParams, context: RunContext<Config>, rng: Rng, whole: boolean): Promise<Judged> {
  const { strip } = context.config;
  const frames = strip.chunks * strip.chunkFrames;
  const { x, y } = walks(rng.child('clips'), strip.judged, frames);
  const shape = [strip.judged, frames, STRIP.height, STRIP.width, 1] as const;
  const truth = tf.tensor(x, [...shape]);
  const noise = rng.child('noise').normal(shape);
  const prompts = classText(y, 2);
  const sampler = magiSampler(networkFor(strip, stripSize(frames)));
  const run = (schedule: ScheduleSettings, guidance: GuidanceSettings = PLAIN) => {
    context.signal.throwIfAborted();
    const given = schedule.prefixFrames!;
    return tf.tidy(() => {
      const prefix = tf.slice(truth, [0, 0, 0, 0, 0], [strip.judged, given, STRIP.height, STRIP.width, 1]);
      let forwards = 0;
      const parts: Tensor[] = [];
      for (const { finished } of sampler.steps(params, noise, { schedule, prompts, guidance, prefix })) {
        forwards++;
        if (finished) parts.push(finished.frames);
      }
      const video = tf.concat(parts, 1);
      const expected = tf.slice(
        truth,
        [0, frames - video.shape[1]!, 0, 0, 0],
        [strip.judged, video.shape[1]!, STRIP.height, STRIP.width, 1],
      );
      return { forwards, ...clipErrors(video.dataSync() as Float32Array, expected.dataSync() as Float32Array, video.shape[1]!) };
    });
  };
  const longest = Math.max(...strip.histories);
  const on = { prefixFrames: strip.given };
  const runs = new Map((whole ? strip.histories : [longest]).map((range) => [range, run(scheduleOf(strip, range, on))] as const));
  const history = Object.fromEntries([...runs].map(([range, { position }]) => [String(range), mean(position)!]));
  const best = runs.get(longest)!;
  const judged: Judged = {
    history,
    image: 0,
    byChunk: Array.from({ length: best.position.length / strip.chunkFrames }, (_, j) => mean(best.position.slice(j * strip.chunkFrames, (j + 1) * strip.chunkFrames))!), // prettier-ignore
    sequential: 0,
    guided: { early: [0, 0], always: [0, 0] },
    truePeak: best.truePeak,
    forwards: [best.forwards, 0],
  };
  if (whole) {
    // The video from an image contains that image, and starts earlier. Both are compared on the frames that are new in both.
    judged.image = mean(run(scheduleOf(strip, longest, { prefixFrames: 1 })).position.slice(strip.given))!;
    const sequential = run(scheduleOf(strip, longest, { ...on, window: 1 }));
    judged.sequential = mean(sequential.position)!;
    judged.forwards[1] = sequential.forwards;
    const early = run(scheduleOf(strip, longest, on), { edges: [0, 0.3], previous: [strip.strong, 1], text: [1, 1] });
    const always = run(scheduleOf(strip, longest, on), constantGuidance(strip.strong, 1));
    judged.guided = { early: [early.squared, early.peak], always: [always.squared, always.peak] };
  }
  sampler.dispose();
  tf.dispose([truth, noise, prompts.features, prompts.mask]);
  return judged;
}

/**
 * Distils the network. Returns how far videos at 8 steps are from the teacher's video at 64 steps, from the same noise: of the student, and of the
 * teacher itself.
 */
async function distil(teacher: MagiParams, context: RunContext<Config>, rng: Rng): Promise<{ student: number; teacher: number }> {
  const { strip } = context.config;
  const frames = strip.chunks * strip.chunkFrames;
  const config = networkFor(strip, stripSize(frames));
  const { batch } = strip.training;
  const guidance: GuidanceSettings = { edges: [0, 0.3], previous: [1.5, 1], text: [1, 1] };
  const { params } = await trainNetwork({
    context,
    name: 'strip-distilled',
    steps: strip.distillation.steps,
    rng: rng.child('steps'),
    optimizer: adamW({ b2: 0.95 }),
    learningRate: () => strip.distillation.learningRate,
    emaDecay: () => 0,
    init: () => treeMap((leaf) => leaf.clone(), teacher as unknown as Tree),
    batch: (at, step): Tree =>
      tf.tidy(() => {
        const { x, y } = walks(at.child('clips'), batch, frames);
        const shape = [batch, frames, STRIP.height, STRIP.width, 1] as const;
        const steps = DISTILLATION_CYCLE[step % DISTILLATION_CYCLE.length]!;
        const times = drawDistillation(at.child('times'), { clips: batch, chunks: strip.chunks, window: strip.window, steps }, guidance);
        const data: DistillationBatch = {
          x: tf.tensor(x, [...shape]),
          e: at.child('noise').normal(shape),
          ...chunkTexts(y, 2, strip.chunks),
          ...times,
        };
        // The number of steps is the name of an entry. So batches with other numbers are trees of other structure, and each gets its own graph.
        return { data, grid: { [steps]: tf.scalar(steps) } } as never;
      }) as unknown as Tree,
    loss: (at, inputs) => {
      const { data, grid } = inputs as unknown as { data: DistillationBatch; grid: Record<string, Tensor> };
      return distillationLoss(at as unknown as MagiParams, teacher, data, { steps: Number(Object.keys(grid)[0]) }, config);
    },
  });
  const found = await context.stage('strip-distilled-judged', () => {
    const { y } = walks(rng.child('judged'), strip.judged, frames);
    const noise = rng.child('noise').normal([strip.judged, frames, STRIP.height, STRIP.width, 1]);
    const prompts = classText(y, 2);
    const sampler = magiSampler(config);
    const video = (weights: MagiParams, steps: number, more: Partial<VideoOptions>): Tensor =>
      sampler.sample(weights, noise, { schedule: scheduleOf(strip, strip.chunks, { steps }), prompts, ...more });
    const target = video(teacher, 64, { guidance });
    const distance = (x: Tensor): number => tf.tidy(() => tf.sqrt(tf.mean(tf.square(tf.sub(x, target)))).dataSync()[0]!);
    const [student, plain] = [
      video(params as unknown as MagiParams, 8, { kind: 'distilled', aloneWeight: 0 }),
      video(teacher, 8, { guidance }),
    ];
    const distances = { student: distance(student), teacher: distance(plain) };
    sampler.dispose();
    tf.dispose([noise, target, student, plain, prompts.features, prompts.mask]);
    return distances;
  });
  disposeTree(params);
  return found;
}

/** Draws a true clip, its continuations with the longest range and with range 1, and a video from its first frame. */
async function draw(params: MagiParams, context: RunContext<Config>, rng: Rng): Promise<void> {
  const { strip } = context.config;
  const frames = strip.chunks * strip.chunkFrames;
  const { x, y } = walks(rng.child('clip'), 1, frames);
  const shape = [1, frames, STRIP.height, STRIP.width, 1] as const;
  const sampler = magiSampler(networkFor(strip, stripSize(frames)));
  const rows = tf.tidy(() => {
    const truth = tf.tensor(x, [...shape]);
    const [noise, prompts] = [rng.child('noise').normal(shape), classText(y, 2)];
    const from = (given: number, history: number): Tensor => {
      const prefix = tf.slice(truth, [0, 0, 0, 0, 0], [1, given, STRIP.height, STRIP.width, 1]);
      const video = sampler.sample(params, noise, {
        schedule: scheduleOf(strip, history, { prefixFrames: given }),
        prompts,
        prefix,
        guidance: PLAIN,
        pin: 'exact',
      });
      return video.shape[1] === frames ? video : tf.concat([prefix, video], 1);
    };
    return [truth, from(strip.given, strip.chunks), from(strip.given, 1), from(1, strip.chunks)].map(
      (video) => video.dataSync() as Float32Array,
    );
  });
  sampler.dispose();
  const all = new Float32Array(rows.length * rows[0]!.length);
  rows.forEach((row, i) => all.set(row, i * row.length));
  const picture = filmStrip(floats(all, frames, STRIP.height, STRIP.width, 1), {
    rowLabels: ['true', `${strip.given} frames given`, 'the same, range 1', 'first frame given'],
    range: [-0.6, 1.4],
    tile: 48,
  });
  await context.figure('strip', picture, 'A bump that walks: the true clip, and videos that go on from its beginning');
}

async function chart(context: RunContext<Config>, { window }: StripFindings): Promise<void> {
  const series = window.map(({ byChunk }, i) => ({ name: `seed ${i}`, points: byChunk.map((error, j) => [j + 1, error] as const) }));
  const options = { x: 'new chunk', y: 'error of the place (widths of the strip)', dots: true };
  await context.figure('strip-error', lineChart(series, options), 'Error grows with the distance from what is given');
}
