import { tf, type Tensor } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import {
  callClean,
  callNetwork,
  chunkPlan,
  EDGE,
  magiGraphs,
  plannedForward,
  type ChunkPlan,
  type ChunkRequest,
  type GuidanceSettings,
  type MagiConfig,
  type MagiParams,
  type MixedGrid,
  type Prompt,
  type StreamState,
  type VideoOptions,
} from '../../src/index.ts';
import { entry, integers, json, networkOf, official, promptOf, video } from './layout.ts';
import { runTransport } from './schedules.ts';

type Runtime = {
  cfg_number: number;
  cfg_t_range: number[];
  prev_chunk_scales: number[];
  text_scales: number[];
  noise2clean_kvrange: number[];
  clean_chunk_kvrange: number;
  clean_t: number;
  num_steps: number;
  window_size: number;
  chunk_width: number;
};

/** The settings of a whole run. */
function optionsOf(file: GoldenFile): VideoOptions & { guidance: GuidanceSettings } {
  const runtime = json<Runtime>(file, 'runtime_config');
  const engine = json<{ distill: boolean; shortcut_mode: MixedGrid }>(file, 'engine_config');
  const prefix = file.has('prefix') ? video(file.tensor('prefix')) : undefined;
  return {
    schedule: {
      chunks: Number(file.setting('chunk_num')),
      chunkFrames: runtime.chunk_width,
      window: runtime.window_size,
      steps: runtime.num_steps,
      history: runtime.noise2clean_kvrange,
      cleanHistory: runtime.clean_chunk_kvrange,
      cleanTime: runtime.clean_t,
      prefixFrames: prefix?.shape[1] ?? 0,
      ...(runtime.num_steps === 12 && engine.distill && { mixed: engine.shortcut_mode }),
    },
    prompts: (chunk) => promptOf(file, chunk),
    kind: engine.distill ? 'distilled' : 'guided',
    guidance: { edges: runtime.cfg_t_range, previous: runtime.prev_chunk_scales, text: runtime.text_scales },
    ...(prefix && { prefix }),
  };
}

const boundOf = (options: VideoOptions, config: MagiConfig): { abs: number } => {
  if (options.kind === 'distilled') return { abs: 1.5e-3 };
  return { abs: config.rescale === 1 ? 3e-4 : 2e-3 };
};

export function runs(file: GoldenFile, all: Golden): number {
  const { config, params } = networkOf(file, all);
  const options = optionsOf(file);
  const bound = boundOf(options, config);
  const noise = video(file.tensor('noise'));
  const [, , H, W, C] = noise.shape as [number, number, number, number, number];
  const graphs = magiGraphs(config);
  const c = options.schedule.chunkFrames;
  const stream = graphs.open(params, (chunk) => tf.slice(noise, [0, chunk * c, 0, 0, 0], [1, c, H, W, C]), options);
  const { plan } = stream;
  expectClose(plan.times.t, file.host('t_total'), { abs: 1e-6 });
  const whole = new Map<number, Tensor>();
  const [emissions, frames]: [number[][], Tensor[]] = [[], []];
  let compared = prefixBranch(file, params, options, plan, config);
  const seen = new Set<string>();
  while (!stream.complete) {
    const g = stream.state.forward;
    const name = plannedForward(plan, g).clean ? 'extra_branch' : 'first_branch';
    if (!seen.has(name) && file.hasAny(`${name}.`)) compared += branches(file, name, params, stream.state, plan, options, config, noise);
    seen.add(name);
    const finished = stream.advance();
    for (const { chunk, z } of [...stream.state.active, ...(stream.state.finished ? [stream.state.finished] : [])])
      whole.set(chunk, z.clone());
    if (finished) {
      emissions.push([g, finished.chunk - plan.cleanChunks, finished.frames.shape[1]!]);
      frames.push(finished.frames);
    }
    compared += afterStep(file, g, whole, plan, bound);
  }
  expect(emissions.flat()).toEqual(integers(file, 'emit'));
  expectClose(official(tf.concat(frames, 1)), file.host('output'), bound, `${file.name}: output`);
  stream.dispose();
  graphs.dispose();
  return compared + 2;
}

/** The latents of all chunks that have been denoised so far. The last one leaves the state when it is finished; the output holds it. */
function afterStep(file: GoldenFile, g: number, whole: ReadonlyMap<number, Tensor>, plan: ChunkPlan, bound: { abs: number }): number {
  const expected = video(tf.expandDims(entry(file, 'x_after_step', g), 0));
  const [, , H, W, C] = expected.shape as [number, number, number, number, number];
  const last = g === plan.forwards - 1 ? plan.chunks - 1 : plan.chunks;
  for (const [chunk, z] of whole) {
    if (chunk === last) continue;
    expectClose(z, tf.slice(expected, [0, chunk * plan.chunkFrames, 0, 0, 0], [1, plan.chunkFrames, H, W, C]), bound, `${file.name}: chunk ${chunk} after forward ${g}`); // prettier-ignore
  }
  return whole.size;
}

/** The velocities of all passes of the call that comes next. */
function branches(
  file: GoldenFile,
  name: string,
  params: MagiParams,
  state: StreamState,
  plan: ChunkPlan,
  options: VideoOptions,
  config: MagiConfig,
  noise: Tensor,
): number {
  const forward = plannedForward(plan, state.forward);
  const c = plan.chunkFrames;
  const first = forward.clean?.chunk ?? forward.active[0]!.chunk;
  const latents = [...(forward.clean ? [forward.clean] : []), ...forward.active].map(({ chunk }) => {
    const known = state.active.find((at) => at.chunk === chunk)?.z ?? (state.finished?.chunk === chunk ? state.finished.z : undefined);
    const z = known ?? tf.slice(noise, [0, chunk * c, 0, 0, 0], [1, c, ...noise.shape.slice(2)]);
    const given = Math.min(c, Math.max(0, plan.prefixFrames - chunk * c));
    if (given === 0) return z;
    const frames = tf.slice(options.prefix!, [0, chunk * c, 0, 0, 0], [1, given, ...noise.shape.slice(2)]);
    return tf.concat([frames, tf.slice(z, [0, given, 0, 0, 0], [1, c - given, ...noise.shape.slice(2)])], 1);
  });
  const out = callNetwork(
    params,
    {
      active: forward.clean ? latents.slice(1) : latents,
      ...(forward.clean && { clean: latents[0]! }),
      prompts: forward.active.map(({ chunk }): Prompt => promptOf(file, chunk)),
      t: tf.tensor1d([...(forward.clean ? [forward.clean] : []), ...forward.active].map(({ t }) => t)),
      firstFrame: tf.scalar(first * c),
      caches: state.cache.filter(({ chunk }) => chunk >= forward.cachedFrom && chunk < first).map(({ layers }) => layers),
    },
    { kind: 'guided', ...forward, nearlyClean: forward.active[0]!.t > 0.3 - EDGE },
    config,
  );
  const joined = (clean: Tensor | undefined, v: Tensor): Tensor => {
    const all = clean === undefined ? v : tf.concat([clean, v], 1); // [1, m, c, H, W, C]
    return official(tf.reshape(all, [1, -1, ...all.shape.slice(3)]));
  };
  const bound = { abs: config.rescale === 1 ? 3e-4 : 2e-3 };
  const check = (x: Tensor, key: string): void => expectClose(x, file.host(`${name}.${key}`), bound, `${file.name}: ${name}.${key}`);
  check(joined(out.clean?.full, out.full), 'cond_prev_text');
  check(joined(out.clean?.previous, out.previous!), 'cond_prev');
  check(joined(undefined, out.alone!), 'uncond');
  return 3;
}

/** Velocities of the given chunks in the pass that fills the cache. */
function prefixBranch(file: GoldenFile, params: MagiParams, options: VideoOptions, plan: ChunkPlan, config: MagiConfig): number {
  if (!file.hasAny('prefix_branch.')) return 0;
  if (plan.history.length > 0 && plan.cleanHistory !== 1) return 0;
  const c = plan.chunkFrames;
  const [, , H, W, C] = options.prefix!.shape as [number, number, number, number, number];
  const v = Array.from({ length: plan.cleanChunks }, (_, chunk) => {
    const clean = tf.slice(options.prefix!, [0, chunk * c, 0, 0, 0], [1, c, H, W, C]);
    const inputs = { clean, t: tf.scalar(plan.cleanTime), firstFrame: tf.scalar(chunk * c), caches: [] };
    return callClean(params, inputs, { kind: 'guided', seen: 0 }, config).v;
  });
  expectClose(official(tf.concat(v, 1)), file.host('prefix_branch.cond_prev'), boundOf(options, config), `${file.name}: prefix_branch`);
  return 1;
}

type GaussianCase = {
  chunks: number;
  window: number;
  num_steps: number;
  noise2clean_kvrange: number[];
  rho: number;
  rel_frobenius_error: number;
};

/** Chunks that are a Gaussian process: the exact velocity, given what a chunk sees, in the official scheduler and in ours. */
export function gaussianPipelines(file: GoldenFile): number {
  const cases = json<GaussianCase[]>(file, 'cases');
  const cleanHistory = Number(file.setting('clean_chunk_kvrange'));
  cases.forEach((c, i) => {
    const noise = video(file.tensor(`case${i}.noise`));
    const plan = chunkPlan({
      chunks: c.chunks,
      chunkFrames: noise.shape[1]! / c.chunks,
      window: c.window,
      steps: c.num_steps,
      history: c.noise2clean_kvrange,
      cleanHistory,
    });
    const run = (z: Tensor): Tensor => runTransport(plan, z, gaussianVelocity(c.rho, Number(file.setting('clean_t'))));
    expectClose(official(run(noise)), file.host(`case${i}.output`), { abs: 2e-5 }, `case ${i}: output`);
    // The map from noise to output, column by column: the video of a unit vector, one channel for each chunk.
    const unit = tf.reshape(tf.eye(c.chunks), [1, c.chunks, 1, 1, c.chunks]);
    const single = { ...plan, chunkFrames: 1 };
    const M = tf.reshape(runTransport(single, unit, gaussianVelocity(c.rho, Number(file.setting('clean_t')))), [c.chunks, c.chunks]);
    expectClose(M, file.host(`case${i}.M`), { abs: 2e-5 }, `case ${i}: M`);
    const truth = file.tensor(`case${i}.C`);
    expectClose(truth.dataSync(), Array.from({ length: c.chunks ** 2 }, (_, at) => c.rho ** Math.abs(Math.floor(at / c.chunks) - (at % c.chunks))), { abs: 2e-5 }); // prettier-ignore
    const error = tf.div(tf.norm(tf.sub(tf.matMul(M, M, false, true), truth)), tf.norm(truth)).dataSync();
    expectClose(error, [c.rel_frobenius_error], { abs: 2e-5 }, `case ${i}: error of the covariance`);
  });
  return 3 * cases.length;
}

/** E[x¹ - x⁰ | seen states] of chunks with covariance ρ^|i-j|, whose finished chunks are seen at time `cleanTime`. */
export function gaussianVelocity(rho: number, cleanTime: number): (request: ChunkRequest) => Tensor[] {
  const done = new Map<number, Tensor>();
  return ({ forward, active, clean }) => {
    if (forward.clean) done.set(forward.clean.chunk, tf.keep(clean!.clone()));
    return forward.active.map(({ chunk, from, t }) => {
      const seen = Array.from({ length: chunk + 1 - from }, (_, i) => from + i);
      const at = seen.map((j) => forward.active.find((other) => other.chunk === j)?.t ?? cleanTime);
      const state = (j: number): Tensor => {
        const i = forward.active.findIndex((other) => other.chunk === j);
        return i >= 0 ? active[i]! : done.get(j)!;
      };
      const weights = conditional(seen, at, chunk, t, rho);
      return seen.map((j, i) => tf.mul(state(j), weights[i]!)).reduce((a, b) => tf.add(a, b));
    });
  };
}

/** Weights of the seen states in E[x¹ - x⁰ | states] of the last of them: cov(v, states)·cov(states)⁻¹, by elimination in float64. */
function conditional(seen: readonly number[], times: readonly number[], chunk: number, t: number, rho: number): number[] {
  const n = seen.length;
  const own = (i: number): number => (1 - times[i]!) ** 2;
  const rows = seen.map((a, i) => [
    ...seen.map((b, j) => times[i]! * times[j]! * rho ** Math.abs(a - b) + (i === j ? own(i) : 0)),
    times[i]! * rho ** Math.abs(a - chunk) - (a === chunk ? 1 - t : 0),
  ]);
  for (let k = 0; k < n; k++) {
    const pivot = rows.slice(k).reduce((best, row, i) => (Math.abs(row[k]!) > Math.abs(rows[best]![k]!) ? k + i : best), k);
    [rows[k], rows[pivot]] = [rows[pivot]!, rows[k]!];
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const factor = rows[i]![k]! / rows[k]![k]!;
      for (let j = k; j <= n; j++) rows[i]![j]! -= factor * rows[k]![j]!;
    }
  }
  return rows.map((row, i) => row[n]! / row[i]!);
}
