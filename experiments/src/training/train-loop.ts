import { setImmediate as nextTurn } from 'node:timers/promises';
import { compile, disposeTree, Rng, type RngState, type Tensor, type Tree } from '@atelier/tensor';
import { median } from 'd3-array';
import { Interrupted, StopError } from '../runner/errors.ts';
import type { BaseConfig, Json, Resumable, RunContext } from '../runner/experiment.ts';

/** What `trainLoop` needs to train one network. */
export interface TrainLoop<State extends Tree, Batch extends Tree> {
  readonly context: Pick<RunContext<BaseConfig>, 'checkpoints' | 'lines' | 'log' | 'progress' | 'rewind' | 'rng' | 'signal'>;
  /** Name of the stage, of its checkpoint and of its curve; unique within the run. */
  readonly name: string;
  /** Number of steps, at least 1. */
  readonly steps: number;
  /** The state before the first step (params, optimizer state, averages, …); the loop owns it. Also called on resume, for its structure. */
  init(): State | Promise<State>;
  /**
   * The inputs of step `step` (0 … steps-1): data, noise, times, and numbers that change, such as the learning rate, as scalar tensors. The loop
   * owns them. `rng` is a new stream for each step, so its state does not need to be saved; take children of it by name.
   */
  batch(rng: Rng, step: number): Batch | Promise<Batch>;
  /**
   * One step as a pure function; the loop compiles it and donates both arguments. `metrics` are scalars, among them `loss`. The function may close over
   * other tensors (masks, tables); the caller owns them.
   */
  step(state: State, batch: Batch): { state: State; metrics: { loss: Tensor; [name: string]: Tensor } };
  /** The parent of the streams of the steps; `context.rng.child(name)` by default. Two stages with the same stream get the same draws. */
  readonly rng?: Rng;
  /** The position in the data, which `batch` advances; saved with every checkpoint. */
  readonly cursor?: Resumable;
  /** Called with the state after every `every.watch` steps and after the last one (samples, evaluations). The loop owns the state. */
  watch?(state: State, step: number): Promise<void> | void;
  readonly every?: {
    /** Steps between two lines of metrics, each the mean since the line before. By default about 200 lines per stage. */
    readonly log?: number;
    /** Steps between two calls of `watch`; by default only after the last step. */
    readonly watch?: number;
    /** Steps between two checkpoints; unlimited by default. */
    readonly checkpointSteps?: number;
    /** Seconds between two checkpoints; 30 by default. */
    readonly checkpointSeconds?: number;
  };
}

/** The result of a stage of training. */
export interface Trained<State extends Tree> {
  /** The state after the last step; the caller must dispose it. */
  readonly state: State;
  /** Median over the lines of metrics of the mean time of a step, without drawing the batch. */
  readonly msPerStep: number;
}

/**
 * The contents of a checkpoint besides the tensors. `sums` and `count` belong to the line of metrics that is being collected. It holds no times, so that the
 * checkpoints of equal runs are equal files.
 */
type Saved = { step: number; rng: RngState; cursor: Json; sums: Record<string, number>; count: number };

/**
 * Trains for `steps` steps: it draws a batch, runs the compiled step, logs, calls `watch` and writes checkpoints. In a resumed run it continues from the
 * last checkpoint with exactly the same bits. If the stage had ended, it returns at once.
 *
 * @throws StopError if a metric (or, at a checkpoint, a weight) is not finite. It names the step and the last good checkpoint.
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
  };
  /** Time of the steps since the last line of metrics, and their number; those before a resumption are not counted. */
  let [seconds, timed] = [0, 0];
  const msPerStep = (): number => median(context.lines(name).map(({ ms }) => ms as number))!;
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
  if (saved.step === steps) return { state, msPerStep: msPerStep() };

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
      // The steps are synchronous. Ctrl-C and the progress line need a turn of the event loop between them.
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
      seconds += elapsed;
      timed += 1;
      progress.update(saved.step, values);

      const last = saved.step === steps;
      if (saved.step % logEvery === 0 || last) {
        const ms = (1000 * seconds) / timed;
        const means = Object.fromEntries(Object.entries(saved.sums).map(([metric, sum]) => [metric, sum / saved.count]));
        context.log({ ...means, ms }, saved.step, name);
        saved = { ...saved, sums: {}, count: 0 };
        [seconds, timed] = [0, 0];
      }
      if (loop.watch && (last || (every.watch !== undefined && saved.step % every.watch === 0))) await loop.watch(state, saved.step);
      const due = every.checkpointSteps !== undefined && saved.step % every.checkpointSteps === 0;
      if (last || due || performance.now() - savedAt >= 1000 * (every.checkpointSeconds ?? 30)) await save();
    }
  } finally {
    progress.stop();
    compiled.dispose();
  }
  return { state, msPerStep: msPerStep() };
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
