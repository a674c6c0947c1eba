import { disposeTree, Rng, tf, treeMap, useEngine, type Tensor } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import { CheckpointFolder } from '../src/runner/checkpoint.ts';
import { Interrupted } from '../src/runner/errors.ts';
import { trainLoop, type TrainLoop } from '../src/training/train-loop.ts';
import { temporaryFolder } from './child.ts';

beforeAll(async () => void (await useEngine()));

type Line = { metrics: Record<string, number>; step: number; series: string | undefined };
type State = { w: Tensor };
type Batch = { x: Tensor };

/** A context over a folder, with what was logged, and switches. */
function world(folder = temporaryFolder(), lines: Line[] = []) {
  const abort = new AbortController();
  const rewinds: [string, number][] = [];
  const progress = { start: () => {}, update: () => {}, stop: () => {} };
  const context: TrainLoop<State, Batch>['context'] = {
    checkpoints: new CheckpointFolder(folder),
    log: (metrics, step, series) => void lines.push({ metrics: { ...metrics }, step, series }),
    lines: (name) => lines.filter(({ series }) => series === name).map(({ metrics }) => metrics),
    rewind: async (series, step) => void rewinds.push([series, step]),
    progress,
    rng: new Rng(1),
    signal: abort.signal,
  };
  return { folder, context, lines, rewinds, abort };
}

/** w ← 0.9 w + x, loss = Σ w. */
const walk = (context: TrainLoop<State, Batch>['context'], change: Partial<TrainLoop<State, Batch>> = {}): TrainLoop<State, Batch> => ({
  context,
  name: 'walk',
  steps: 10,
  init: () => ({ w: tf.zeros([3]) }),
  batch: (rng) => ({ x: rng.normal([3]) }),
  step: ({ w }, { x }) => {
    const next = tf.add(tf.mul(0.9, w), x);
    return { state: { w: next }, metrics: { loss: tf.sum(next), first: tf.sum(tf.slice(next, [0], [1])) } };
  },
  ...change,
});

/** The same walk in plain JavaScript, float32 at every step; w after each step. */
function walkByHand(rng: Rng, steps: number): Float32Array[] {
  const w = new Float32Array(3);
  return Array.from({ length: steps }, (_, step) => {
    const x = rng.child(step).normals(3);
    for (let i = 0; i < 3; i++) w[i] = Math.fround(Math.fround(Math.fround(0.9) * w[i]!) + x[i]!);
    return w.slice();
  });
}

describe('trainLoop', () => {
  it('takes the steps in order with a stream of its own for each, and logs means over the lines', async () => {
    const { context, lines } = world();
    const { state } = await trainLoop(walk(context, { every: { log: 4 } }));
    const wanted = walkByHand(new Rng(1).child('walk'), 10);
    const got = await state.w.data();
    for (let i = 0; i < 3; i++) expect(got[i]).toBeCloseTo(wanted[9]![i]!, 5);
    expect(lines.map(({ step, series }) => [step, series])).toEqual([
      [4, 'walk'],
      [8, 'walk'],
      [10, 'walk'],
    ]);
    const sum = (w: Float32Array): number => w[0]! + w[1]! + w[2]!;
    expect(lines[1]!.metrics['loss']).toBeCloseTo(wanted.slice(4, 8).reduce((total, w) => total + sum(w), 0) / 4, 5);
    expect(lines[2]!.metrics['first']).toBeCloseTo((wanted[8]![0]! + wanted[9]![0]!) / 2, 5);
    expect(Object.keys(lines[0]!.metrics)).toEqual(['loss', 'first', 'ms']);
    disposeTree(state);
  });

  it('gives two stages with one stream the same draws', async () => {
    const { context } = world();
    const rng = new Rng(5);
    const [a, b] = [await trainLoop(walk(context, { name: 'a', rng })), await trainLoop(walk(context, { name: 'b', rng }))];
    expect(await a.state.w.data()).toEqual(await b.state.w.data());
    const other = await trainLoop(walk(context, { name: 'c' }));
    expect(await other.state.w.data()).not.toEqual(await a.state.w.data());
    disposeTree([a.state, b.state, other.state]);
  });

  it('keeps no tensor but the final state', async () => {
    const { context } = world();
    const before = tf.memory().numTensors;
    const { state } = await trainLoop(walk(context, { steps: 25, every: { checkpointSteps: 3, watch: 4 }, watch: () => {} }));
    expect(tf.memory().numTensors).toBe(before + 1);
    disposeTree(state);
  });

  it('works with a step that hands back its input, and with state that it leaves as it is', async () => {
    const { context } = world();
    const { state } = await trainLoop<{ w: Tensor; table: Tensor }, Batch>({
      ...walk(context),
      init: () => ({ w: tf.zeros([3]), table: tf.tensor1d([1, 2, 3]) }),
      step: ({ w, table }, { x }) => ({ state: { w: tf.add(w, x), table }, metrics: { loss: tf.sum(w) } }),
      watch: () => {},
    });
    expect([...(await state.table.data())]).toEqual([1, 2, 3]);
    disposeTree(state);
  });

  it('returns at once where the stage has ended, with the state that was saved', async () => {
    const first = world();
    const a = await trainLoop(walk(first.context));
    const second = world(first.folder, first.lines);
    const b = await trainLoop(
      walk(second.context, {
        batch: () => {
          throw new Error('no batch should be drawn');
        },
      }),
    );
    expect(await b.state.w.data()).toEqual(await a.state.w.data());
    expect(b.msPerStep).toBe(a.msPerStep);
    expect(second.rewinds).toEqual([['walk', 10]]);
    disposeTree([a.state, b.state]);
  });

  it('stops at an abort with a checkpoint, and goes on bit for bit in the middle of a line of metrics', async () => {
    const whole = world();
    const wanted = await trainLoop(walk(whole.context, { every: { log: 4 } }));
    const { context, folder, abort, lines } = world();
    const stopAfter = (step: number) => (rng: Rng, at: number) => {
      if (at === step - 1) abort.abort();
      return { x: rng.normal([3]) };
    };
    const stopped = trainLoop(walk(context, { batch: stopAfter(6), every: { log: 4 } }));
    await expect(stopped).rejects.toThrow(Interrupted);
    await expect(stopped).rejects.toThrow("stopped after step 6 of 10 of 'walk'; the checkpoint is written");
    const again = world(folder);
    const got = await trainLoop(walk(again.context, { every: { log: 4 } }));
    expect(again.rewinds).toEqual([['walk', 6]]);
    expect(await got.state.w.data()).toEqual(await wanted.state.w.data());
    const untimed = (some: Line[]): unknown => some.map(({ metrics, ...rest }) => ({ ...rest, metrics: { ...metrics, ms: 0 } }));
    expect(untimed([...lines, ...again.lines])).toEqual(untimed(whole.lines));
    disposeTree([wanted.state, got.state]);
  });

  it('calls watch at its interval and after the last step, with the state of that step', async () => {
    const { context } = world();
    const seen: [number, number][] = [];
    const watch = async ({ w }: State, step: number): Promise<void> => void seen.push([step, (await w.data())[0]!]);
    const { state } = await trainLoop(walk(context, { every: { watch: 4 }, watch }));
    const wanted = walkByHand(new Rng(1).child('walk'), 10);
    expect(seen.map(([step]) => step)).toEqual([4, 8, 10]);
    for (const [step, value] of seen) expect(value).toBeCloseTo(wanted[step - 1]![0]!, 5);
    disposeTree(state);
  });

  it('saves the place in the data and restores it', async () => {
    const { context, folder, abort } = world();
    const cursor = { place: 0, state: () => cursor.place, restore: (state: unknown) => void (cursor.place = state as number) };
    const batch = (rng: Rng, step: number): Batch => {
      cursor.place += 2;
      if (step === 2) abort.abort();
      return { x: rng.normal([3]) };
    };
    await expect(trainLoop(walk(context, { cursor, batch }))).rejects.toThrow(Interrupted);
    cursor.place = -100;
    const { state } = await trainLoop(walk(world(folder).context, { cursor, batch }));
    expect(cursor.place).toBe(20);
    disposeTree(state);
  });

  it('refuses a state that is not finite although the loss is, and keeps the checkpoint before', async () => {
    const { context, folder } = world();
    const step = ({ w }: State, { x }: Batch): ReturnType<TrainLoop<State, Batch>['step']> => ({
      state: { w: tf.div(tf.add(w, x), tf.sub(tf.scalar(1), tf.cast(tf.greater(tf.sum(tf.abs(w)), tf.scalar(1e30)), 'float32'))) },
      metrics: { loss: tf.zeros([]) },
    });
    const batch = (rng: Rng, at: number): Batch => ({ x: at === 4 ? tf.fill([3], 1e35) : rng.normal([3]) });
    const run = trainLoop(walk(context, { step, batch, every: { checkpointSteps: 2 } }));
    await expect(run).rejects.toThrow(
      /^checkpoint 'walk': 'state\.w' holds (-?Infinity|NaN) at position \d, so it was not saved; the last good checkpoint is checkpoints\/walk\.safetensors at step 4$/,
    );
    expect((await new CheckpointFolder(folder).load('walk'))!.state).toMatchObject({ step: 4 });
  });

  it('refuses metrics without a loss, metrics that are no scalars, and counts that are none', async () => {
    const { context } = world();
    const step = (metrics: (w: Tensor) => Record<string, Tensor>) => (s: State, b: Batch) => ({
      state: treeMap((w) => tf.add(w, b.x), s),
      metrics: metrics(s.w) as { loss: Tensor },
    });
    await expect(trainLoop(walk(context, { step: step((w) => ({ error: tf.sum(w) })) }))).rejects.toThrow(
      "walk: wanted a metric 'loss', got error",
    );
    await expect(trainLoop(walk(context, { step: step((w) => ({ loss: tf.mul(w, 2) })) }))).rejects.toThrow(
      "walk: metric 'loss': wanted a scalar, got shape [3]",
    );
    await expect(trainLoop(walk(context, { steps: 0 }))).rejects.toThrow('walk: steps: wanted a whole number >= 1, got 0');
    await expect(trainLoop(walk(context, { every: { log: 1.5 } }))).rejects.toThrow('walk: every.log: wanted a whole number >= 1, got 1.5');
  });

  it('refuses a checkpoint of a longer run or of another network', async () => {
    const { context, folder } = world();
    disposeTree((await trainLoop(walk(context))).state);
    await expect(trainLoop(walk(world(folder).context, { steps: 5 }))).rejects.toThrow(
      "checkpoint 'walk': wanted at most 5 steps, got one after step 10",
    );
    const wider = walk(world(folder).context, { init: () => ({ w: tf.zeros([4]) }) });
    await expect(trainLoop(wider)).rejects.toThrow(/walk\.safetensors: 'state\.w': wanted float32 \[4\], got float32 \[3\]$/);
  });
});
