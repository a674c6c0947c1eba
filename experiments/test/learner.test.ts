import { adamW, constant, sgd } from '@atelier/nn';
import { disposeTree, Rng, tf, useEngine, type Tensor } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import { CheckpointFolder } from '../src/runner/checkpoint.ts';
import { Interrupted } from '../src/runner/errors.ts';
import { learner } from '../src/training/learner.ts';
import { trainLoop, type Trained, type TrainLoop } from '../src/training/train-loop.ts';
import { trainNetwork } from '../src/training/train-network.ts';
import { temporaryFolder } from './child.ts';

beforeAll(async () => void (await useEngine()));

type Context = TrainLoop<never, never>['context'];

const contextOver = (folder = temporaryFolder(), signal = new AbortController().signal): Context => ({
  checkpoints: new CheckpointFolder(folder),
  log: () => {},
  lines: () => [{ ms: 1 }],
  rewind: async () => {},
  progress: { start: () => {}, update: () => {}, stop: () => {} },
  rng: new Rng(1),
  signal,
});

/**
 * Two networks by turns, as in a distillation of a score: `fake` follows the mean of what the generator makes now, the generator moves its mean to
 * that of the data (3) by the difference of the two. Only the generator has an average.
 */
async function distil(
  context: Context,
  stopAfter?: { steps: number; abort: AbortController },
): Promise<Trained<{ generator: { params: { mean: Tensor }; average?: { mean: Tensor } }; fake: { params: { mean: Tensor } } }>> {
  const generator = learner({ optimizer: adamW({ b1: 0 }), learningRate: constant(0.05), emaDecay: constant(0.9) });
  const fake = learner({ optimizer: sgd(), learningRate: (step) => 0.4 / (1 + step / 1000) });
  return trainLoop({
    context,
    name: 'distil',
    steps: 300,
    every: { checkpointSteps: 7 },
    init: () => ({ generator: generator.start({ mean: tf.scalar(-1) }), fake: fake.start({ mean: tf.scalar(0) }) }),
    batch(rng, step) {
      if (step === stopAfter?.steps) stopAfter.abort.abort(new Interrupted('stop'));
      return { z: rng.normal([64]), rates: { generator: generator.rates(step), fake: fake.rates(step) } };
    },
    step(state, { z, rates }) {
      const made = tf.add(z, state.generator.params.mean);
      const first = fake.descend(state.fake, ({ mean }) => ({ loss: tf.mean(tf.square(tf.sub(made, mean))) }), rates.fake);
      const gap = tf.sub(first.state.params.mean, 3);
      const then = generator.descend(state.generator, ({ mean }) => ({ loss: tf.mul(mean, gap), metrics: { gap } }), rates.generator);
      return {
        state: { generator: then.state, fake: first.state },
        metrics: { loss: then.loss, 'fake loss': first.loss, ...then.metrics },
      };
    },
  });
}

const numbers = async ({ state }: Awaited<ReturnType<typeof distil>>): Promise<number[]> => {
  const tensors = [state.generator.params.mean, state.generator.average!.mean, state.fake.params.mean];
  const values = await Promise.all(tensors.map(async (tensor) => (await tensor.data())[0]!));
  disposeTree(state);
  return values;
};

describe('learners', () => {
  it('train two networks by turns, each with its own optimizer; only one keeps an average', async () => {
    const [mean, average, fake] = (await numbers(await distil(contextOver()))) as [number, number, number];
    for (const value of [mean, average, fake]) expect(Math.abs(value - 3)).toBeLessThan(0.4);
    expect(average).not.toBe(mean);
  });

  it('go on from a checkpoint in mid-training with the same bits', async () => {
    const wanted = await numbers(await distil(contextOver()));
    const folder = temporaryFolder();
    const abort = new AbortController();
    await expect(distil(contextOver(folder, abort.signal), { steps: 31, abort })).rejects.toThrow(Interrupted);
    expect(await numbers(await distil(contextOver(folder)))).toEqual(wanted);
  });
});

describe('trainNetwork', () => {
  /** w ← w - 0.1·2(w - 1) without noise: after n steps 1 - 0.8ⁿ. */
  const fit = (emaDecay?: number) => {
    const context = Object.assign(contextOver(), { config: { seed: 0, checkpointSeconds: 30 } });
    const shown: [number, number][] = [];
    const trained = trainNetwork({
      context: context as never,
      name: 'fit',
      steps: 10,
      rng: new Rng(1),
      optimizer: sgd(),
      learningRate: constant(0.1),
      ...(emaDecay !== undefined && { emaDecay: constant(emaDecay) }),
      init: () => ({ w: tf.scalar(0) }),
      batch: () => ({ target: tf.scalar(1) }),
      loss: ({ w }, { target }) => ({ loss: tf.square(tf.sub(w, target)) }),
      watch: { every: 5, show: async ({ w }, step) => void shown.push([step, (await w.data())[0]!]) },
    });
    return { trained, shown };
  };

  it('returns and shows the last weights where no average is kept', async () => {
    const { trained, shown } = fit();
    const { params } = await trained;
    expect((await params.w.data())[0]).toBeCloseTo(1 - 0.8 ** 10, 5);
    expect(shown.map(([step]) => step)).toEqual([5, 10]);
    expect(shown[0]![1]).toBeCloseTo(1 - 0.8 ** 5, 5);
    disposeTree(params);
  });

  it('returns and shows the average where one is kept, and leaves no other tensor', async () => {
    const before = tf.memory().numTensors;
    const { trained, shown } = fit(0.5);
    const { params } = await trained;
    let [w, average] = [0, 0];
    for (let step = 0; step < 10; step++) {
      w += 0.2 * (1 - w);
      average += 0.5 * (w - average);
    }
    expect((await params.w.data())[0]).toBeCloseTo(average, 5);
    expect(shown[1]![1]).toBeCloseTo(average, 5);
    expect(tf.memory().numTensors).toBe(before + 1);
    disposeTree(params);
  });
});
