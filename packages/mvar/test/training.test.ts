import { compile, disposeTree, flattenTree, Rng, tf, toTensor, useEngine, type Tree } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  batchLoss,
  crossEntropy,
  decays,
  drawDropPath,
  dropPathRates,
  groupOfIteration,
  initMvarTraining,
  mvarConcatStep,
  mvarForward,
  mvarGradients,
  mvarTrainingStep,
  tokenCount,
  trainingGroups,
  type MvarBatch,
  type MvarConfig,
  type MvarTrainingState,
} from '../src/index.ts';
import { causal, drawnInputs, drawnParams, markov } from './networks.ts';

beforeAll(async () => {
  await useEngine();
});

const B = 3;
const N = tokenCount(markov.ladder);

function drawnBatch(seed: string, config: MvarConfig = markov): MvarBatch {
  const { x, y } = drawnInputs(config, B, seed);
  const tokens = toTensor({ dtype: 'int32', shape: [B, N], data: new Rng(seed).child('tokens').integers(B * N, 0, config.codes) });
  return { tokens, inputs: x, y };
}

const value = (state: MvarTrainingState, path: string): number[] =>
  Array.from(flattenTree(state as unknown as Tree)[path]!.dataSync() as Float32Array);

describe('invariant 11: losses', () => {
  it('of the groups add up to the mean cross-entropy of all tokens', () => {
    const params = drawnParams(markov, 'sum');
    const batch = drawnBatch('sum');
    const whole = { first: 0, end: markov.ladder.length };
    const sum = trainingGroups(markov).reduce((total, group) => total + batchLoss(params, batch, [group], markov).dataSync()[0]!, 0);
    const ce = tf.mean(crossEntropy(mvarForward(params, { y: batch.y, x: batch.inputs }, whole, markov), batch.tokens));
    expectClose([sum], ce, { rel: 1e-6 });
  });

  it('are those of the definition, with softmax less one-hot as gradient', () => {
    const logits = new Rng('ce').normal([2, 3, 5]);
    const targets = toTensor({ dtype: 'int32', shape: [2, 3], data: Int32Array.of(0, 4, 2, 1, 1, 3) });
    const plain = tf.neg(tf.sum(tf.mul(tf.logSoftmax(logits), tf.oneHot(targets as never, 5)), 2));
    expectClose(crossEntropy(logits, targets), plain, { abs: 1e-6 });
    const weights = new Rng('weights').normal([2, 3]);
    const own = tf.grad((x) => tf.sum(tf.mul(crossEntropy(x, targets), weights)))(logits);
    const wanted = tf.grad((x) => tf.sum(tf.mul(tf.neg(tf.sum(tf.mul(tf.logSoftmax(x), tf.oneHot(targets as never, 5)), 2)), weights)))(
      logits,
    );
    expectClose(own, wanted, { abs: 1e-6 });
  });
});

describe('invariant 14: concat mode', () => {
  it('has the sum of the gradients of the groups', () => {
    const params = drawnParams(markov, 'concat');
    const batch = drawnBatch('concat');
    const groups = trainingGroups(markov);
    const flat = (tree: unknown) => tf.concat(Object.values(flattenTree(tree as Tree)).map((g) => tf.reshape(g, [-1])), 0); // prettier-ignore
    const all = flat(mvarGradients(params, batch, groups, markov).grads);
    const parts = groups.map((group) => flat(mvarGradients(params, batch, [group], markov).grads));
    expectClose(all, parts.reduce((a, b) => tf.add(a, b)), { max: 1e-5 }); // prettier-ignore
  });
});

describe('invariant 15: parameters without a gradient', () => {
  it('pos_start stays as it was where scale 0 is not trained, with its moments and count', () => {
    const groups = trainingGroups(markov);
    const steps = groups.map((group) => compile(mvarTrainingStep(markov, group)));
    const rate = tf.scalar(1e-2);
    const run = (state: MvarTrainingState, g: number): MvarTrainingState => {
      const batch = drawnBatch('skip');
      return steps[g]!(state as never, batch as never, rate).state as MvarTrainingState;
    };
    const start = run(initMvarTraining(drawnParams(markov, 'skip')), 0);
    const windowed = run(start, 1);
    for (const path of [
      'params.pos_start',
      'adam.start.step',
      'adam.start.sum1.pos_start',
      'adam.start.sum2.pos_start',
      'adam.start.weight1',
    ])
      expect([path, value(windowed, path)]).toEqual([path, value(start, path)]);
    expect(value(windowed, 'params.pos_1LC')).not.toEqual(value(start, 'params.pos_1LC'));
    const packed = run(windowed, 0);
    expect(value(packed, 'params.pos_start')).not.toEqual(value(windowed, 'params.pos_start'));
    expect([value(packed, 'adam.start.step'), value(packed, 'adam.others.step')]).toEqual([[2], [3]]);
    for (const step of steps) step.dispose();
  });
});

describe('training', () => {
  it('decays matrices alone, and neither positions nor levels', () => {
    const paths = Object.keys(flattenTree(drawnParams({ ...causal, sharedAdaLN: true }, 'names') as unknown as Tree));
    const kept = paths.filter((path) => !decays(path));
    for (const path of kept) expect(path).toMatch(/bias$|^pos_|^lvl_embed|scale_mul|ada_gss/);
    expect(paths.filter(decays)).toContain('class_emb.weight');
    expect(paths.filter(decays)).toContain('head.weight');
    expect(paths.filter(decays)).toContain('blocks.1.attn.mat_qkv.weight');
  });

  it.each<[string, MvarConfig]>([
    ['VAR', causal],
    ['MVAR, concat mode', markov],
    ['MVAR, 8:1:1', markov],
  ])('%s learns a batch by heart', (name, config) => {
    const mixed = name.includes('8:1:1');
    const groups = trainingGroups(config);
    const steps = mixed
      ? groups.map((group) => compile(mvarTrainingStep(config, group), { donate: [0] }))
      : [compile(mvarConcatStep(config), { donate: [0] })];
    let state = initMvarTraining(drawnParams(config, name));
    const batch = drawnBatch(name, config);
    const loss = (): number => batchLoss(state.params, batch, groups, config).dataSync()[0]!;
    const before = loss();
    for (let i = 0; i < 60; i++) {
      const out = steps[mixed ? groupOfIteration(i, config, 2) : 0]!(state as never, batch as never, tf.scalar(1e-2));
      state = out.state as MvarTrainingState;
    }
    expect(loss()).toBeLessThan(0.7 * before);
    for (const step of steps) step.dispose();
  });

  it('leaves nothing behind', async () => {
    const step = compile(mvarConcatStep(markov), { donate: [0] });
    let state = initMvarTraining(drawnParams(markov, 'leak'));
    const [batch, rate] = [drawnBatch('leak'), tf.scalar(1e-3)];
    await expectNoLeak(() => {
      const out = step(state as never, batch as never, rate);
      state = out.state as MvarTrainingState;
      return [out.loss, out.norm];
    });
    disposeTree(state as unknown as Tree);
    step.dispose();
  });

  it('keeps branches with the rate of their block, rising from 0', () => {
    expect(dropPathRates({ depth: 5, dropPath: 0.2 })).toEqual([0, 0.05, 0.1, 0.15000000000000002, 0.2]);
    expect(drawDropPath(new Rng('none'), 4, { depth: 3, dropPath: 0 })).toBeNull();
    const keep = drawDropPath(new Rng('keep'), 4000, { depth: 3, dropPath: 0.5 })!;
    const means = Array.from(tf.mean(keep, 1).dataSync());
    for (const mean of means) expect(Math.abs(mean - 1)).toBeLessThan(0.06);
    const shares = Array.from(tf.mean(tf.cast(tf.equal(keep, 0), 'float32'), 1).dataSync());
    [0, 0, 0.25, 0.25, 0.5, 0.5].forEach((rate, i) => expect(Math.abs(shares[i]! - rate)).toBeLessThan(0.03));
  });
});
