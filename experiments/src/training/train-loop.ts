import { setImmediate as nextTurn } from 'node:timers/promises';
import { compile, disposeTree, Rng, type RngState, type Tensor, type Tree } from '@atelier/tensor';
import { median } from 'd3-array';
import { Interrupted, StopError } from '../runner/errors.ts';
import type { BaseConfig, Json, Resumable, RunContext } from '../runner/experiment.ts';

/** What `trainLoop` needs to train one network. */
export interface TrainLoop<State extends Tree, Batch extends Tree> {
  readonly context: Pick<RunContext<BaseConfig>, 'checkpoints' | 'log' | 'progress' | 'rewind' | 'rng' | 'signal'>;
  /** Name of the stage, of its checkpoint and of its curve; unique within the run. */
  readonly name: string;
  /** Number of steps, at least 1. */
  readonly steps: number;
  /** The state before the first step (params, optimizer state, averages, …); the loop owns it. Also called on resume, for its structure. */
  init(): State | Promise<State>;
  /**
   * The inputs of step `step` (0 … steps-1): data, noise, times, and numbers that change, such as the learning rate, as scalar tensors. The loop
   * owns them. `rng` is a fresh stream of this step alone, so nothing about it needs to be saved; take children of it by name.
   */
  batch(rng: Rng, step: number): Batch | Promise<Batch>;
  /**
   * One step as a pure function; the loop compiles it and donates both arguments. `metrics` are scalars and hold `loss`. Everything that is
   * neither argument (masks, tables) may be closed over and stays the caller's.
   */
  step(state: State, batch: Batch): { state: State; metrics: { loss: Tensor; [name: string]: Tensor } };
  /** Where the streams of the steps come from; `context.rng.child(name)` unless given. Two stages given the same stream see the same draws. */
  readonly rng?: Rng;
  /** A place in the data that `batch` moves along; saved with every checkpoint. */
  readonly cursor?: Resumable;
  /** Called with the state after every `every.watch` steps and after the last one (samples, evaluations). The state stays the loop's. */
  watch?(state: State, step: number): Promise<void> | void;
  readonly every?: {
    /** Steps between two lines of metrics, each the mean since the line before. By default about 200 lines a stage. */
    readonly log?: number;
    /** Steps between two calls of `watch`; by default only after the last step. */
    readonly watch?: number;
    /** Steps between two checkpoints; unlimited by default. */
    readonly checkpointSteps?: number;
    /** Seconds between two checkpoints; 30 by default. */
    readonly checkpointSeconds?: number;
  };
}

/** What a stage of training leaves. */
export interface Trained<State extends Tree> {
  /** After the last step; the caller's to dispose. */
  readonly state: State;
  /** Median over the lines of metrics of the mean time of a step, without drawing the batch. */
  readonly msPerStep: number;
}

/** What stands in a checkpoint beside the tensors. `sums` and `count` are the line of metrics that is being collected. */
type Saved = { step: number; rng: RngState; cursor: Json; sums: Record<string, number>; count: number; seconds: number; lineMs: number[] };

/**
 * Trains for `steps` steps: draws a batch, takes the compiled step, logs, watches, and writes checkpoints. Called again in a resumed run it goes on
 * from the last checkpoint bit for bit, and returns at once where the stage had ended.
 *
 * @throws StopError when a metric or, at a checkpoint, a weight is not finite, naming the step and the last good checkpoint.
 * @throws Interrupted after Ctrl-C, when the checkpoint is on the disk.
 */
export async function trainLoop<State extends Tree, Batch extends Tree>(loop: TrainLoop<State, Batch>): Promise<Trained<State>> {
  const { context, name, steps, every = {} } = loop;
  checkCounts(loop);
  const logEvery = every.log ?? Math.max(1, Math.ceil(steps / 200));
  const { checkpoints, progress, signal } = context;

  let state = await loop.init();
  let saved: Saved = {
    step: 0,
    rng: (loop.rng ?? context.rng.child(name)).state(),
    cursor: null,
    sums: {},
    count: 0,
    seconds: 0,
    lineMs: [],
  };
  let lastGood: number | undefined;
  const found = await checkpoints.load(name);
  if (found !== null) {
    const before = state;
    state = found.tree('state', before);
    disposeTree(before);
    saved = found.state as unknown as Saved;
    if (saved.step > steps) throw new StopError(`checkpoint '${name}': wanted at most ${steps} steps, got one after step ${saved.step}`);
    loop.cursor?.restore(saved.cursor);
    lastGood = saved.step;
  }
  await context.rewind(name, saved.step);
  if (saved.step === steps) return { state, msPerStep: median(saved.lineMs)! };

  const stream = Rng.restore(saved.rng);
  const compiled = compile(loop.step, { donate: [0, 1], name });
  let savedAt = performance.now();
  const save = async (): Promise<void> => {
    try {
      await checkpoints.save(name, { state }, { ...saved, cursor: loop.cursor?.state() ?? null });
    } catch (error) {
      throw error instanceof StopError ? new StopError(`${error.message}; ${advice(name, lastGood)}`, { cause: error }) : error;
    }
    lastGood = saved.step;
    savedAt = performance.now();
  };

  progress.start(name, steps, saved.step);
  try {
    while (saved.step < steps) {
      // The steps are synchronous; without a turn of the event loop neither Ctrl-C nor the progress line would get through.
      await nextTurn();
      if (signal.aborted) {
        if (lastGood !== saved.step) await save();
        throw new Interrupted(`stopped after step ${saved.step} of ${steps} of '${name}'; the checkpoint is written`);
      }
      const batch = await loop.batch(stream.child(saved.step), saved.step);
      const began = performance.now();
      const result = compiled(state, batch);
      const values = await readScalars(name, result.metrics);
      const elapsed = (performance.now() - began) / 1000;
      disposeTree(result.metrics);
      state = result.state;
      saved.step += 1;
      for (const [metric, value] of Object.entries(values)) {
        if (!Number.isFinite(value)) throw new StopError(`${name}: ${metric} is ${value} at step ${saved.step}; ${advice(name, lastGood)}`);
        saved.sums[metric] = (saved.sums[metric] ?? 0) + value;
      }
      saved.count += 1;
      saved.seconds += elapsed;
      progress.update(saved.step, values);

      const last = saved.step === steps;
      if (saved.step % logEvery === 0 || last) {
        const ms = (1000 * saved.seconds) / saved.count;
        const means = Object.fromEntries(Object.entries(saved.sums).map(([metric, sum]) => [metric, sum / saved.count]));
        context.log({ ...means, ms }, saved.step, name);
        saved = { ...saved, sums: {}, count: 0, seconds: 0, lineMs: [...saved.lineMs, ms] };
      }
      if (loop.watch && (last || (every.watch !== undefined && saved.step % every.watch === 0))) await loop.watch(state, saved.step);
      const due = every.checkpointSteps !== undefined && saved.step % every.checkpointSteps === 0;
      if (last || due || performance.now() - savedAt >= 1000 * (every.checkpointSeconds ?? 30)) await save();
    }
  } finally {
    progress.stop();
    compiled.dispose();
  }
  return { state, msPerStep: median(saved.lineMs)! };
}

async function readScalars(name: string, metrics: Readonly<Record<string, Tensor>>): Promise<Record<string, number>> {
  const out: Record<string, number> = {};
  for (const [metric, tensor] of Object.entries(metrics)) {
    if (tensor.size !== 1) throw new StopError(`${name}: metric '${metric}': wanted a scalar, got shape [${tensor.shape.join(', ')}]`);
    out[metric] = (await tensor.data())[0]!;
  }
  if (!('loss' in out)) throw new StopError(`${name}: wanted a metric 'loss', got ${Object.keys(out).join(', ') || 'none'}`);
  return out;
}

function checkCounts({ name, steps, every = {} }: Pick<TrainLoop<Tree, Tree>, 'name' | 'steps' | 'every'>): void {
  const counts = { steps, 'every.log': every.log, 'every.watch': every.watch, 'every.checkpointSteps': every.checkpointSteps };
  for (const [key, value] of Object.entries(counts)) {
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1))
      throw new StopError(`${name}: ${key}: wanted a whole number >= 1, got ${value}`);
  }
}

const advice = (name: string, step: number | undefined): string =>
  step === undefined ? 'there is no good checkpoint yet' : `the last good checkpoint is checkpoints/${name}.safetensors at step ${step}`;
