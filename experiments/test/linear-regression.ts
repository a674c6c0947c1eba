import { existsSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { disposeTree, Rng, tf, toHost, treeMap, valueAndGrad, type Tensor } from '@atelier/tensor';
import { z } from 'zod';
import { defineExperiment, imageGrid, lineChart, trainLoop, type Json, type Resumable, type RunContext } from '../src/index.ts';

/**
 * Linear regression by gradient descent: the smallest experiment that uses all that a run offers. Two stages of training (plain, then with
 * momentum from where the first ended), an evaluation, a picture, claims. `trouble` makes the world fail at a step of the second stage.
 */
const schema = z.object({
  seed: z.int().min(0).default(0),
  steps: z.int().min(1).default(40),
  learningRate: z.number().gt(0).max(10).default(0.1),
  data: z.object({ size: z.int().min(4).default(32), noise: z.number().min(0).default(0.01) }).prefault({}),
  checkpointSteps: z.int().min(1).default(5),
  ratios: z.array(z.number().min(0).max(1)).default([0.5]),
  note: z.string().default(''),
  /** The run waits at step 20 of the second stage while this file exists. */
  hold: z.string().default(''),
  mode: z.enum(['plain', 'momentum']).default('momentum'),
  trouble: z.enum(['none', 'kill', 'full disk', 'file in the way']).default('none'),
  troubleAt: z.int().min(0).default(0),
});
type Config = z.infer<typeof schema>;

type State = { params: { weight: Tensor; bias: Tensor }; velocity: { weight: Tensor; bias: Tensor } };
type Batch = { x: Tensor; y: Tensor; learningRate: Tensor; momentum: Tensor };

const TRUE_WEIGHT = [2, -1, 0.5];

export const linearRegression = defineExperiment<Config>({
  name: 'linear-regression',
  paper: { slug: 'least-squares', title: 'Nouvelles méthodes pour la détermination des orbites des comètes', arxiv: '0000.00000' },
  title: 'Linear regression by gradient descent',
  schema,
  tour: { preset: 'smoke', shows: 'a line through points', figure: 'weights' },
  presets: { smoke: {}, full: { steps: 200, data: { size: 64 } } },
  claims: [
    {
      id: 'weights',
      claim: 'Least squares recovers the weights.',
      where: 'Appendix',
      published: 'exact without noise',
      how: 'largest error of a weight after training',
      scale: ({ steps }) => `${steps} steps a stage`,
      bound: { atMost: 0.1 },
      presets: ['smoke', 'full'],
    },
    {
      id: 'comets',
      claim: 'The orbits of comets follow.',
      where: 'Title',
      published: 'two comets',
      how: 'observation',
      bound: { outOfReach: 'no telescope here' },
      presets: [],
    },
  ],
  async run(context) {
    const { config, rng } = context;
    const set = dataSet(rng.child('data'), config);
    const first = await stage(context, 'first', set, 0, zeroState);
    const second = await stage(context, 'second', set, config.mode === 'momentum' ? 0.5 : 0, () => treeMap((leaf) => leaf.clone(), first));
    const weight = [...(await second.params.weight.data())];
    const { error } = await context.stage('evaluate', () => ({ error: Math.max(...weight.map((w, i) => Math.abs(w - TRUE_WEIGHT[i]!))) }));
    await context.figure(
      'weights',
      lineChart([{ name: 'weight', points: weight.map((w, i) => [i, w] as const) }]),
      'The weights after training',
    );
    await context.claim('weights', error, `${config.steps} steps a stage`);
    disposeTree([first, second]);
  },
});

async function stage(context: RunContext<Config>, name: string, set: DataSet, momentum: number, init: () => State): Promise<State> {
  const { config } = context;
  const cursor = new Cursor(set, context.rng.child(`order of ${name}`));
  const { state } = await trainLoop<State, Batch>({
    context,
    name,
    steps: config.steps,
    init,
    cursor,
    every: { log: 2, checkpointSteps: config.checkpointSteps, watch: 20 },
    batch(stepRng, step) {
      if (name === 'second' && step === config.troubleAt) makeTrouble(config, context.folder);
      return {
        ...cursor.next(8, stepRng.child('noise'), config.data.noise),
        learningRate: tf.scalar(config.learningRate),
        momentum: tf.scalar(momentum),
      };
    },
    step({ params, velocity }, { x, y, learningRate, momentum: decay }) {
      const { loss, grads } = valueAndGrad(
        (p: State['params']) => ({ loss: tf.mean(tf.square(tf.sub(tf.add(tf.matMul(x, p.weight), p.bias), y))), aux: {} }),
        params,
      );
      const moved = treeMap((v, _, g) => tf.sub(tf.mul(decay, v), tf.mul(learningRate, g!)), velocity, grads);
      return { state: { params: treeMap((p, _, v) => tf.add(p, v!), params, moved), velocity: moved }, metrics: { loss } };
    },
    async watch(state, step) {
      const image = tf.tidy(() => tf.tanh(tf.reshape(state.params.weight, [1, 3, 1, 1])));
      await context.samples(name, step, imageGrid(await toHost(image)));
      image.dispose();
      while (name === 'second' && step === 20 && existsSync(config.hold) && !context.signal.aborted) await wait(20);
    },
  });
  return state;
}

const zeroState = (): State => {
  const zeros = (): State['params'] => ({ weight: tf.zeros([3, 1]), bias: tf.zeros([1]) });
  return { params: zeros(), velocity: zeros() };
};

type DataSet = { x: Float32Array; y: Float32Array; size: number };

function dataSet(rng: Rng, { data: { size } }: Config): DataSet {
  const x = rng.normals(3 * size);
  const y = Float32Array.from({ length: size }, (_, i) => 1 + TRUE_WEIGHT.reduce((sum, w, k) => sum + w * x[3 * i + k]!, 0));
  return { x, y, size };
}

/** Walks through the set in a new order every epoch. */
class Cursor implements Resumable {
  readonly #set: DataSet;
  readonly #rng: Rng;
  #epoch = 0;
  #at = 0;

  constructor(set: DataSet, rng: Rng) {
    this.#set = set;
    this.#rng = rng;
  }

  next(count: number, noise: Rng, scale: number): { x: Tensor; y: Tensor } {
    const { x, y, size } = this.#set;
    if (this.#at + count > size) [this.#epoch, this.#at] = [this.#epoch + 1, 0];
    const order = this.#rng
      .child(this.#epoch)
      .permutation(size)
      .subarray(this.#at, this.#at + count);
    this.#at += count;
    const extra = noise.normals(count);
    return {
      x: tf.tensor2d(
        [...order].flatMap((i) => [...x.subarray(3 * i, 3 * i + 3)]),
        [count, 3],
      ),
      y: tf.tensor2d(
        [...order].map((i, k) => y[i]! + scale * extra[k]!),
        [count, 1],
      ),
    };
  }

  state(): Json {
    return { epoch: this.#epoch, at: this.#at };
  }

  restore(state: Json): void {
    ({ epoch: this.#epoch, at: this.#at } = state as { epoch: number; at: number });
  }
}

/** Once for a run folder: the file `troubled` remembers. */
function makeTrouble({ trouble }: Config, folder: string): void {
  const mark = join(folder, 'troubled');
  if (trouble === 'none' || existsSync(mark)) return;
  writeFileSync(mark, '');
  if (trouble === 'kill') process.kill(process.pid, 'SIGKILL');
  if (trouble === 'full disk') {
    rmSync(join(folder, 'metrics.jsonl'));
    symlinkSync('/dev/full', join(folder, 'metrics.jsonl'));
  }
  if (trouble === 'file in the way') {
    rmSync(join(folder, 'samples'), { recursive: true });
    writeFileSync(join(folder, 'samples'), 'not a folder');
  }
}
