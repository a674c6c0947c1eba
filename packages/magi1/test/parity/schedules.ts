import { tf, type Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import {
  advanceChunks,
  chunkPlan,
  denoisingTimes,
  emittedFrames,
  EDGE,
  guidanceFactors,
  guidanceScales,
  guidedVelocity,
  initialState,
  plannedClean,
  plannedForwards,
  stageOf,
  stepOf,
  withPin,
  type ChunkDenoiser,
  type ChunkPlan,
  type ChunkRequest,
  type ScheduleSettings,
  type TimeWarp,
} from '../../src/index.ts';
import { integers, json, official, row, video } from './layout.ts';

type TimesCase = { num_steps: number; shortcut_mode?: '8,16,16' | '16,16,8'; tSchedulerFunc?: string; shift?: number };

export function timesteps(file: GoldenFile): number {
  const cases = json<TimesCase[]>(file, 'cases');
  cases.forEach(({ num_steps, shortcut_mode, tSchedulerFunc, shift }, i) => {
    const plain = tSchedulerFunc === undefined || tSchedulerFunc === 'sd3';
    const warp = (plain ? { kind: 'shifted-square', shift: shift ?? 3 } : { kind: tSchedulerFunc }) as TimeWarp;
    const { t, interval } = denoisingTimes(num_steps, { warp, ...(shortcut_mode && { mixed: shortcut_mode }) });
    expectClose(t, file.host(`case${i}.t`), { abs: 1e-6 }, `case ${i}: times`);
    if (num_steps % 3 !== 0 || num_steps === 12) expectClose(interval, file.host(`case${i}.interval`), {}, `case ${i}: intervals`);
  });
  return cases.length;
}

export function chunkSequences(file: GoldenFile): number {
  const cases = json<{ chunk_num: number; window_size: number; chunk_offset: number }[]>(file, 'cases');
  cases.forEach(({ chunk_num: chunks, window_size: window, chunk_offset: cleanChunks }, i) => {
    const stages = Array.from({ length: chunks - cleanChunks + window - 1 }, (_, stage) =>
      stageWithAges(stage, { chunks, window, cleanChunks }),
    );
    for (const [at, name] of (['clipStart', 'clipEnd', 'ageStart', 'ageEnd'] as const).entries())
      expect(
        stages.map((stage) => stage[name]),
        `case ${i}: ${name}`,
      ).toEqual(row(file, `case${i}`, at));
  });
  return cases.length;
}

/** A stage with the ages of its chunks, [ageStart, ageEnd): a chunk's age is the number of stages behind it. */
function stageWithAges(stage: number, sizes: Pick<ChunkPlan, 'chunks' | 'window' | 'cleanChunks'>) {
  const { clipStart, clipEnd } = stageOf(stage, sizes);
  const age = (chunk: number): number => stage - (chunk - sizes.cleanChunks);
  return { clipStart, clipEnd, ageStart: age(clipEnd - 1), ageEnd: age(clipStart) + 1 };
}

type PlanCase = { chunk_num: number; window: number; steps: number; kv: number[]; ck: number; prefix: number; cw: number };

export function transportPlans(file: GoldenFile): number {
  const cases = json<PlanCase[]>(file, 'cases');
  cases.forEach((settings, i) => transportPlan(file, `case${i}`, settings));
  return cases.length;
}

function transportPlan(file: GoldenFile, key: string, c: PlanCase): void {
  const { shape } = file.host(`${key}.noise`);
  const P = (c.cw * shape[3]! * shape[4]!) / 4;
  const mixed = c.steps === 12 ? ('8,16,16' as const) : undefined;
  const settings: ScheduleSettings = {
    chunks: c.chunk_num,
    chunkFrames: c.cw,
    window: c.window,
    steps: c.steps,
    history: c.kv,
    cleanHistory: c.ck as 1,
    prefixFrames: c.prefix,
    ...(mixed && { mixed }),
  };
  const plan = chunkPlan(settings);
  const emissions: number[][] = [];
  const forwards = [...plannedForwards(plan)];
  expect(forwards).toHaveLength(file.host(`${key}.status`).shape[0]!);
  expectClose(plan.times.t, file.host(`${key}.t_total`), { abs: 1e-6 });
  // The official code has the pattern of 12 steps for every multiple of 3, and uses it for 12 steps alone.
  const unused = c.steps % 3 === 0 && c.steps !== 12;
  for (const [g, forward] of forwards.entries()) {
    const called = [...(forward.clean ? [forward.clean] : []), ...forward.active];
    const stage = stageWithAges(forward.stage, plan);
    expect([plan.perStage, forward.stage, forward.position, plan.cleanChunks, stage.clipStart, stage.clipEnd, stage.ageStart, stage.ageEnd], `${key}: forward ${g}`).toEqual(row(file, `${key}.status`, g)); // prettier-ignore
    const width = file.host(`${key}.timesteps`).shape[1]!;
    const padded = (values: number[]): number[] => [
      ...values,
      ...Array<number>(width * (values.length / called.length) - values.length).fill(-1),
    ];
    expectClose(padded(called.map(({ t }) => t)), row(file, `${key}.timesteps`, g), { abs: 1e-6 }, `${key}: times of forward ${g}`);
    expect(padded(called.flatMap(({ from, chunk }) => [from * P, (chunk + 1) * P]))).toEqual(row(file, `${key}.kv_range`, g));
    const nearlyClean = forward.active[0]!.t > 0.3 - EDGE;
    const flags = { slice_point: called[0]!.chunk, fwd_extra_1st_chunk: Number(forward.clean !== undefined), range_num: stage.clipEnd, denoising_range_num: called.length, distill_nearly_clean_chunk: Number(nearlyClean), ...(unused ? {} : { distill_interval: forward.interval }) }; // prettier-ignore
    for (const [name, value] of Object.entries(flags))
      expect(value, `${key}: ${name} of forward ${g}`).toBe(integers(file, `${key}.${name}`)[g]);
    if (forward.finishes !== undefined) emissions.push([g, forward.finishes - plan.cleanChunks, emittedFrames(plan, forward.finishes)]);
  }
  expect(emissions.flat()).toEqual(integers(file, `${key}.emit`));
  if (file.has(`${key}.prefix_kv_range`)) {
    const given = Array.from({ length: plan.cleanChunks }, (_, chunk) => plannedClean(plan, chunk));
    expect(given.flatMap(({ from, chunk }) => [from * P, (chunk + 1) * P])).toEqual(integers(file, `${key}.prefix_kv_range`));
    expectClose(
      given.map(({ t }) => t),
      file.host(`${key}.prefix_timesteps`),
      { abs: 1e-6 },
    );
  }
  const toy = (request: ChunkRequest): Tensor[] => request.active.map((z, j) => tf.add(tf.mul(z, 0.5), request.forward.active[j]!.t));
  const prefix = file.has(`${key}.prefix`) ? video(file.tensor(`${key}.prefix`)) : undefined;
  expectClose(official(runTransport(plan, video(file.tensor(`${key}.noise`)), toy, prefix)), file.host(`${key}.output`), { abs: 2e-5 });
}

/** A velocity of chunks as a denoiser: z ← z + (t_{k+1} - t_k)·v, with v of every active chunk. It keeps no cache. */
function eulerDenoiser(plan: ChunkPlan, velocity: (request: ChunkRequest) => Tensor[]): ChunkDenoiser {
  return (request) => ({
    active: tf.tidy(() => {
      const latents = withPin(request);
      const [clean, active] = request.clean === undefined ? [undefined, latents] : [latents[0], latents.slice(1)];
      const velocities = velocity({ ...request, active, ...(clean && { clean }) });
      return active.map((z, i) => tf.add(z, tf.mul(velocities[i]!, stepOf(plan, request.forward.active[i]!.step))));
    }),
  });
}

/** The new frames of a video whose velocity is a plain function of its chunks. */
export function runTransport(plan: ChunkPlan, noise: Tensor, velocity: (request: ChunkRequest) => Tensor[], prefix?: Tensor): Tensor {
  const [B, , H, W, C] = noise.shape as [number, number, number, number, number];
  const sources = {
    noise: (chunk: number) => tf.slice(noise, [0, chunk * plan.chunkFrames, 0, 0, 0], [B, plan.chunkFrames, H, W, C]),
    prefix,
    pin: 'official' as const,
    fillWindow: false,
  };
  const denoise = eulerDenoiser(plan, velocity);
  const frames: Tensor[] = [];
  for (let state = initialState(); state.forward < plan.forwards;) {
    const next = advanceChunks(plan, state, sources, denoise);
    state = next.state;
    if (next.finished) frames.push(next.finished.frames);
  }
  return tf.concat(frames, 1);
}

export function guidances(file: GoldenFile): number {
  const scales = {
    edges: json<number[]>(file, 'cfg_t_range'),
    previous: json<number[]>(file, 'prev_chunk_scales'),
    text: json<number[]>(file, 'text_scales'),
  };
  const at = Array.from(file.host('t_grid').data, (t) => guidanceScales(t, scales));
  expectClose(at.map(({ previous }) => previous), file.host('w_prev'), { abs: 1e-6 }); // prettier-ignore
  expectClose(at.map(({ text }) => text), file.host('w_text'), { abs: 1e-6 }); // prettier-ignore
  const c = Number(file.setting('chunk_width'));
  const denoised = file.host('v_guided').shape[2]!;
  const chunks = (key: string): Tensor => {
    const whole = video(file.tensor(key));
    const [B, F, H, W, C] = whole.shape as [number, number, number, number, number];
    return tf.reshape(tf.slice(whole, [0, F - denoised, 0, 0, 0], [B, denoised, H, W, C]), [B, denoised / c, c, H, W, C]);
  };
  const times = Array.from(file.host('timestep').data).slice(-denoised / c);
  const columns = times.map((t) => guidanceFactors(guidanceScales(t, scales)));
  const factors = tf.tensor2d([0, 1, 2].map((i) => columns.map((column) => column[i]!)));
  const v = guidedVelocity({ full: chunks('v_cond_prev_text'), previous: chunks('v_cond_prev'), alone: chunks('v_uncond') }, factors);
  const { shape } = file.host('v_guided');
  expectClose(official(tf.reshape(v, [shape[0]!, denoised, shape[3]!, shape[4]!, shape[1]!])), file.host('v_guided'), { abs: 1e-5 });
  return at.length + 1;
}
