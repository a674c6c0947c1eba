import {
  attentionMacs,
  initMvar,
  initMvarTraining,
  ladders,
  mvarTrainingStep,
  publishedMvar,
  trainingGroups,
  varSettings,
} from '@atelier/mvar';
import { compile, disposeTree, engineName, Rng, tf, type Tree } from '@atelier/tensor';
import { batchOf, type TokenSet } from './token-set.ts';
import type { Model } from './training.ts';

/**
 * The largest difference between the published costs of attention (Tables 2 to 4, Fig. 7; 256 pixels) and those of the cost model, in 10⁹
 * multiply-accumulates.
 */
export function publishedMacsError(): number {
  const markov = (depth: 16 | 20 | 24) => publishedMvar(depth, { ladder: ladders[256] });
  const history = (historyScales: number) => ({ ...markov(16), historyScales, refineStep: ladders[256].length, kernelSize: 1 });
  const rows = [
    [varSettings(markov(16)), 43.61],
    [varSettings(markov(20)), 81.52],
    [varSettings(markov(24)), 136.63],
    [markov(16), 35.44],
    [markov(20), 68.75],
    [markov(24), 118.25],
    [history(3), 41.54],
    [history(2), 40.15],
    [history(1), 37.84],
    [{ ...markov(16), kernelSize: 3 }, 34.89],
    [{ ...markov(16), kernelSize: 5 }, 35.11],
    [{ ...markov(16), kernelSize: 9 }, 35.89],
  ] as const;
  return Math.max(...rows.map(([settings, published]) => Math.abs(attentionMacs(settings) / 1e9 - published)));
}

/**
 * The memory of training one group of scales per iteration: the largest number of bytes of tensors that live at one time, over the groups. `size` is
 * the batch. Null on an engine without a graph.
 */
export function trainingPeak({ config }: Model, set: TokenSet, size: number): number | null {
  if (engineName() !== 'ort') return null;
  const state = initMvarTraining(initMvar(new Rng('memory'), config));
  const batch = batchOf(
    set,
    Int32Array.from({ length: size }, (_, i) => i % set.count),
  );
  const rate = tf.scalar(1e-3);
  const peaks = trainingGroups(config).map((group) => {
    const step = compile(mvarTrainingStep(config, group));
    const bytes = step.peakBytes(state, batch, rate);
    step.dispose();
    return bytes;
  });
  disposeTree(state as unknown as Tree);
  tf.dispose([batch, rate] as never);
  return Math.max(...peaks);
}
