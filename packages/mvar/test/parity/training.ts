import { treeMap, flattenTree, tf, toTensor, type Tree } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import {
  dropPathRates,
  groupOfIteration,
  initMvarTraining,
  mvarGradients,
  mvarSchedule,
  scalesOf,
  trainingGroups,
  updateMvar,
  weightDecaySchedule,
  type MvarParams,
} from '../../src/index.ts';
import { json } from './layout.ts';
import { modelOf, paramsOf } from './network.ts';

/** Learning rates, weight decay, and which scales each iteration trains. */
export function schedules(file: GoldenFile): number {
  const rates = json<Record<string, ['lin0' | 'lin' | 'cos', number, number, number, number]>>(file, 'lr_specs');
  for (const [name, [kind, start, end, warmUpSteps, totalSteps]] of Object.entries(rates)) {
    const { data } = file.host(`lr_wd_${name}`);
    const rate = mvarSchedule({ kind, peak: 1, warmUpSteps, totalSteps, start, end });
    const decay = weightDecaySchedule(data[1]!, data.at(-1)!, totalSteps);
    const rows = Array.from({ length: totalSteps }, (_, t) => [rate(t), decay(t)]).flat();
    expectClose(rows, data, { abs: 1e-6 }, name);
  }
  const cycles = json<Record<string, [number, number, number]>>(file, 'cycle_specs');
  for (const [name, [scales, refineStep, ratio]] of Object.entries(cycles)) {
    const ladder = Array.from({ length: scales }, (_, i) => i + 1);
    const last = Array.from(
      file.host(`last_scale_${name}`).data,
      (_, t) => refineStep - 1 + groupOfIteration(t, { ladder, refineStep }, ratio),
    );
    if (ratio > 1 && ratio < scales - refineStep) {
      // The official formula misses scales here; ours has each of them once in a cycle.
      expect(last).not.toEqual(Array.from(file.host(`last_scale_${name}`).data));
      const cycle = last.slice(0, ratio + scales - refineStep);
      expect(cycle).toEqual([...new Array<number>(ratio).fill(refineStep - 1), ...ladder.slice(refineStep).map((side) => side - 1)]);
    } else expect([name, last]).toEqual([name, Array.from(file.host(`last_scale_${name}`).data)]);
  }
  return Object.keys(rates).length + Object.keys(cycles).length;
}

/** Some iterations of mixed training with dropped labels, stochastic depth, clipping, schedule and AdamW. */
export function trainingSteps(file: GoldenFile, all: Golden): number {
  const rate = Number(file.setting('drop_path_rate'));
  const config = modelOf(all, 'mvar', { dropPath: rate });
  const { shape, data } = file.host('per_step');
  const rows = Array.from({ length: shape[0]! }, (_, t) => Array.from(data.subarray(6 * t, 6 * t + 6)));
  const scales = scalesOf(config.ladder);
  const groups = trainingGroups(config);
  const factor = Number(file.setting('loss_multiplier'));
  const [, warm, start, end] = /^lin0, warmup (\d+) its, wp0 ([\d.]+), wpe ([\d.]+)$/.exec(file.metadata['schedule']!)!.map(Number);
  const peak = Number(file.setting('peak_lr'));
  const learningRate = mvarSchedule({ peak, warmUpSteps: warm!, totalSteps: rows.length, start: start!, end: end! });
  let state = initMvarTraining(paramsOf(all, config).params);
  rows.forEach(([loss, norm, lr, wd, begin], t) => {
    const g = groupOfIteration(t, config, Number(file.setting('ratio_k')));
    expect(scales[groups[g]!.first]!.offset).toBe(begin);
    expectClose([learningRate(t)], [lr!], { abs: 1e-6 }, `step ${t}: learning rate`);
    const batch = {
      tokens: file.tensor('gt_idx'),
      inputs: file.tensor('teacher_input'),
      y: file.tensor('label'),
      dropped: tf.less(file.tensor(`step${t}.label_rand`), Number(file.setting('cond_drop_rate'))),
      ...keepOf(file, t, config),
    };
    const out = mvarGradients(state.params, batch, [groups[g]!], config);
    expectClose(out.loss, [loss!], { abs: 1e-5 }, `step ${t}: loss`);
    const grads = treeMap((leaf) => tf.mul(leaf, factor), out.grads as unknown as Tree) as unknown as MvarParams;
    const options = { weightDecay: wd!, clip: Number(file.setting('clip')) };
    const next = updateMvar(state, grads, tf.scalar(lr!), groups[g]!, options);
    expectClose(next.norm, [norm!], { rel: 1e-4 }, `step ${t}: norm`);
    state = next.state;
  });
  const wanted = file.tensors('final.');
  const got = flattenTree(state.params as unknown as Tree);
  expect(Object.keys(got).sort()).toEqual(Object.keys(wanted).sort());
  for (const [name, value] of Object.entries(wanted)) expectClose(got[name]!, value, { abs: 1e-5 }, `final.${name}`);
  return rows.length;
}

/** The draws of one step, which the file has for blocks with a rate alone, as factors of all branches. */
function keepOf(file: GoldenFile, t: number, config: { depth: number; dropPath: number }) {
  const { shape, data } = file.host(`step${t}.drop_path`);
  const B = shape[1]!;
  let row = 0;
  const rows = dropPathRates(config).flatMap((rate) =>
    [0, 1].map(() => {
      if (rate === 0) return new Array<number>(B).fill(1);
      const drawn = Array.from(data.subarray(row * B, row * B + B), (draw) => draw / (1 - rate));
      row++;
      return drawn;
    }),
  );
  expect(row).toBe(shape[0]);
  return { keep: toTensor({ dtype: 'float32', shape: [2 * config.depth, B], data: Float32Array.from(rows.flat()) }) };
}
