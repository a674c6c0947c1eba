import { flattenTree, valueAndGrad, type Tensor, type Tree } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import {
  cutBatch,
  mvarForward,
  mvarLoss,
  scalesOf,
  trainingGroups,
  type MvarConfig,
  type MvarParams,
  type ScaleRange,
} from '../../src/index.ts';
import { json } from './layout.ts';
import { modelOf, paramsOf } from './network.ts';

/** Weights that a user's loader takes: every name has its place. */
export function weights(_: GoldenFile, all: Golden): number {
  return Object.keys(flattenTree(paramsOf(all, modelOf(all, 'mvar')).params as unknown as Tree)).length;
}

type Run = { logits: Tensor; ce: Tensor; loss: Tensor; grads: Record<string, Tensor> };

/** Logits, cross-entropies, loss and gradients of one range of scales on the tokens of a file. */
function run(file: GoldenFile, params: MvarParams, range: ScaleRange, config: MvarConfig): Run {
  const batch = { tokens: file.tensor('gt_idx'), inputs: file.tensor('teacher_input'), y: file.tensor('label') };
  const { x, targets } = cutBatch(batch, range, config);
  const inputs = { y: batch.y, ...(x && { x }) };
  const { aux, grads, loss } = valueAndGrad(
    (p: Tree) => {
      const { loss: value, ce } = mvarLoss(p as unknown as MvarParams, inputs, targets, range, config);
      return { loss: value, aux: { ce } };
    },
    params as unknown as Tree,
  );
  return { logits: mvarForward(params, inputs, range, config), ce: aux.ce, loss, grads: flattenTree(grads) };
}

function expectGradients(got: Record<string, Tensor>, file: GoldenFile): void {
  const wanted = file.tensors('grad.');
  expect(Object.keys(got).sort()).toEqual(Object.keys(wanted).sort());
  for (const [name, gradient] of Object.entries(wanted)) expectClose(got[name]!, gradient, { abs: 1e-6 }, `${file.name}: ${name}`);
}

export function varForward(file: GoldenFile, all: Golden): number {
  const config = modelOf(all, 'var');
  const { params } = paramsOf(all, config);
  const out = run(file, params, { first: 0, end: config.ladder.length }, config);
  expectClose(out.logits, file.host('logits'), { abs: 5e-5 }, 'logits');
  expectClose(out.ce, file.host('ce'), { abs: 5e-5 }, 'ce');
  expectClose(out.loss, file.host('loss'), { abs: 5e-5 }, 'loss');
  expectGradients(out.grads, file);
  return 1;
}

/** The ranges that a file lists by their tokens are our training groups. */
function groupsOf(file: GoldenFile, config: MvarConfig): ScaleRange[] {
  const listed = json<[number, number, number][]>(file, 'groups');
  const groups = trainingGroups(config);
  const scales = scalesOf(config.ladder);
  const end = ({ end: e }: ScaleRange): number => scales[e - 1]!.offset + scales[e - 1]!.tokens;
  expect(groups.map((group) => [scales[group.first]!.offset, end(group), group.first >= config.refineStep ? 1 : 0])).toEqual(listed);
  return groups;
}

export function mvarForwards(file: GoldenFile, all: Golden): number {
  const config = modelOf(all, 'mvar');
  const { params } = paramsOf(all, config);
  const groups = groupsOf(file, config);
  groups.forEach((range, g) => {
    const out = run(file, params, range, config);
    expectClose(out.logits, file.host(`g${g}.logits`), { abs: 5e-5 }, `g${g}.logits`);
    expectClose(out.ce, file.host(`g${g}.ce`), { abs: 5e-5 }, `g${g}.ce`);
    expectClose(out.loss, file.host(`g${g}.loss`), { abs: 5e-5 }, `g${g}.loss`);
  });
  const blocks = modelOf(all, 'mvar', { refineStep: config.ladder.length });
  const whole = run(file, params, { first: 0, end: config.ladder.length }, blocks);
  expectClose(whole.logits, file.host('scale_markov_only.logits'), { abs: 5e-5 }, 'scale_markov_only');
  return groups.length + 1;
}

export function mvarGroupGradients(file: GoldenFile, all: Golden): number {
  const config = modelOf(all, 'mvar');
  const forward = all.load(all.files('mvar_forward')[0]!);
  const range = trainingGroups(config)[Number(file.setting('group'))]!;
  expectGradients(run(forward, paramsOf(all, config).params, range, config).grads, file);
  return 1;
}
