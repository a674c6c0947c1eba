import { embedClass, linear } from '@atelier/nn';
import { compile, Rng, tf, useEngine, valueAndGrad, vjp, type Tensor, type Tree } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  crossEntropy,
  embedTokens,
  headNorm,
  initMvar,
  mvarConfig,
  mvarForward,
  scalesOf,
  tokenCount,
  trainingGroups,
  type MvarConfig,
  type MvarParams,
} from '../src/index.ts';
import { causal, drawnInputs, drawnParams, inputsOf, markov, maskedForward } from './networks.ts';
import { visiblePairs } from './visible.ts';

beforeAll(async () => {
  await useEngine();
});

const B = 2;
const whole = { first: 0, end: markov.ladder.length };

/** Logits of all training groups, or of single scales, side by side. */
const apart = (params: MvarParams, config: MvarConfig, seed: string, ranges = trainingGroups(config)): Tensor => {
  const inputs = drawnInputs(config, B, seed);
  return tf.concat(
    ranges.map((range) => mvarForward(params, inputsOf(inputs, range.first, range.end, config), range, config)),
    1,
  );
};

describe('invariant 1: the packed scales do not see each other', () => {
  it('so one pass over them is as many passes', () => {
    const params = drawnParams(markov, 'packed');
    const singles = scalesOf(markov.ladder).map(({ index }) => ({ first: index, end: index + 1 }));
    expectClose(apart(params, markov, 'packed'), apart(params, markov, 'packed', singles), { abs: 1e-5 });
    expectClose(mvarForward(params, drawnInputs(markov, B, 'packed'), whole, markov), apart(params, markov, 'packed'), { abs: 1e-5 });
  });
});

describe('invariant 17: without a mask as with a dense one', () => {
  it.each<[string, MvarConfig]>([
    ['MVAR', markov],
    ['VAR', causal],
    ['a history of two scales', { ...causal, historyScales: 2 }],
    ['a history of three', { ...causal, historyScales: 3 }],
    ['scales alone, no windows', { ...markov, refineStep: markov.ladder.length }],
    ['windows of an even side', { ...markov, kernelSize: 4 }],
    ['plain logits', { ...markov, l2Norm: false }],
    ['a shared layer of modulations', { ...causal, sharedAdaLN: true }],
  ])('%s: logits, and gradients of all parameters', (name, config) => {
    const params = drawnParams(config, name) as unknown as Tree;
    const inputs = drawnInputs(config, B, name);
    const weights = new Rng(name).normal([B, tokenCount(config.ladder), config.codes]);
    const run = (forward: (p: MvarParams) => Tensor) =>
      valueAndGrad((p: Tree) => {
        const logits = forward(p as unknown as MvarParams);
        return { loss: tf.sum(tf.mul(logits, weights)), aux: { logits } };
      }, params);
    const own = run((p) => mvarForward(p, inputs, whole, config));
    const dense = run((p) => maskedForward(p, inputs, config));
    expectClose(own.aux.logits, dense.aux.logits, { max: 1e-5 });
    const [got, wanted] = [own.grads, dense.grads].map((grads) => tf.concat(Object.values(flat(grads)).map((g) => tf.reshape(g, [-1])), 0)); // prettier-ignore
    expectClose(got!, wanted!, { max: 1e-5 });
  });
});

const flat = (tree: Tree, out: Record<string, Tensor> = {}, path = ''): Record<string, Tensor> => {
  if (tree instanceof tf.Tensor) out[path] = tree;
  else for (const [key, child] of Object.entries(tree)) flat(child as Tree, out, `${path}.${key}`);
  return out;
};

/** Which inputs the logits of the tokens of a list depend on: one row a token of the sequence, whether any channel's gradient is not exactly 0. */
function reached(params: MvarParams, config: MvarConfig, tokens: readonly number[]): boolean[] {
  const inputs = drawnInputs(config, B, 'reached');
  const N = tokenCount(config.ladder);
  const cotangent = new Float32Array(B * N * config.codes);
  for (let b = 0; b < B; b++)
    for (const token of tokens) cotangent.fill(1, (b * N + token) * config.codes, (b * N + token) * config.codes + 3);
  const { grads } = vjp(
    (x) => mvarForward(params, { y: inputs.y, x: x! }, whole, config),
    [inputs.x],
    tf.tensor3d(cotangent, [B, N, config.codes]),
  );
  const sums = tf.sum(tf.abs(grads[0]!), [0, 2]).dataSync();
  return [false, ...Array.from(sums, (sum) => sum !== 0)];
}

describe('invariant 3: what a scale depends on', () => {
  it('MVAR: on no other scale, exactly; VAR: on all before it', () => {
    for (const config of [markov, causal]) {
      const params = drawnParams(config, 'reach');
      for (const { index: l, tokens, offset } of scalesOf(config.ladder).slice(1)) {
        const found = reached(
          params,
          config,
          Array.from({ length: tokens }, (_, u) => offset + u),
        );
        for (const other of scalesOf(config.ladder).slice(1)) {
          const any = found.slice(other.offset, other.offset + other.tokens).some((hit) => hit);
          expect([l, other.index, any]).toEqual([l, other.index, other.index === l || (config === causal && other.index < l)]);
        }
      }
    }
  });
});

describe('invariant 4: what a token in windows depends on', () => {
  it.each([1, 2])('is the reach of its window over %i blocks, exactly', (depth) => {
    const config: MvarConfig = { ...markov, depth };
    const params = drawnParams(config, 'windows');
    const N = tokenCount(config.ladder);
    const visible = visiblePairs(config);
    const { offset, side } = scalesOf(config.ladder).at(-1)!;
    for (const [i, j] of [
      [0, 0],
      [0, 3],
      [2, 2],
      [5, 5],
      [3, 1],
    ] as const) {
      const token = offset + i * side + j;
      let reach = new Set([token]);
      for (let block = 0; block < depth; block++)
        reach = new Set([
          ...reach,
          ...[...reach].flatMap((t) => Array.from({ length: N }, (_, w) => w).filter((w) => visible[t * N + w] === 1)),
        ]);
      const found = reached(params, config, [token]);
      expect(found.flatMap((hit, w) => (hit ? [w] : []))).toEqual([...reach].sort((a, b) => a - b));
    }
  });
});

describe('invariant 7: VAR and MVAR with equal weights', () => {
  it('agree at scale 0 and nowhere else', () => {
    const params = drawnParams(markov, 'equal');
    const inputs = drawnInputs(markov, B, 'equal');
    const [mvar, own] = [markov, causal].map((config) => mvarForward(params, inputs, whole, config));
    const part = (x: Tensor, begin: number, size: number): Tensor => tf.slice(x, [0, begin, 0], [-1, size, -1]);
    expectClose(part(mvar!, 0, 1), part(own!, 0, 1), { abs: 1e-5 });
    for (const { offset, tokens } of scalesOf(markov.ladder).slice(1)) {
      const difference = tf.max(tf.abs(tf.sub(part(mvar!, offset, tokens), part(own!, offset, tokens)))).dataSync()[0]!;
      expect(difference).toBeGreaterThan(1e-2);
    }
  });
});

describe('invariant 12: a new network', () => {
  it('begins at ln V', () => {
    const config = mvarConfig.parse({ ...markov, width: 64, heads: 4, codes: 128 });
    const params = initMvar(new Rng('fresh'), config);
    const inputs = drawnInputs(config, 4, 'fresh');
    const targets = tf.tensor2d(
      new Rng('targets').integers(4 * tokenCount(config.ladder), 0, 128),
      [4, tokenCount(config.ladder)],
      'int32',
    );
    const ce = tf.mean(crossEntropy(mvarForward(params, inputs, whole, config), targets)).dataSync()[0]!;
    expect(Math.abs(ce - Math.log(128))).toBeLessThan(0.01);
  });

  it('whose gates are 0 passes tokens through its blocks unchanged', () => {
    const config: MvarConfig = { ...markov, gateInit: 0 };
    const inputs = drawnInputs(config, B, 'gates');
    const deep = initMvar(new Rng('gates'), config);
    const shallow: MvarParams = { ...deep, blocks: deep.blocks.slice(0, 1) };
    const logits = [deep, shallow].map((p) => mvarForward(p, inputs, whole, { ...config, depth: p.blocks.length }));
    const cond = embedClass(deep.class_emb, inputs.y);
    const tokens = embedTokens(deep, cond, inputs.x, scalesOf(config.ladder));
    const none = linear(deep.head, headNorm(deep.head_nm, tokens, cond));
    for (const found of logits) expectClose(found, none, { abs: 1e-6 });
  });
});

describe('a pass', () => {
  it('gives the same compiled, in pieces and as a whole', () => {
    const config = mvarConfig.parse({ ...markov, ladder: [1, 2, 4, 8, 16], width: 64, refineStep: 4, kernelSize: 5 });
    const params = drawnParams(config, 'pieces');
    const run = compile((p: Tree, x: Tensor, y: Tensor) => mvarForward(p as unknown as MvarParams, { x, y }, whole, config));
    const large = drawnInputs(config, 24, 'pieces');
    const out = run(params as unknown as Tree, large.x, large.y);
    const first = { x: tf.slice(large.x, [0, 0, 0], [1, -1, -1]), y: tf.slice(large.y, [0], [1]) };
    expectClose(tf.slice(out, [0, 0, 0], [1, -1, -1]), mvarForward(params, first, whole, config), { max: 1e-5 });
  });

  it('leaves nothing behind', async () => {
    const params = drawnParams(markov, 'leak');
    const inputs = drawnInputs(markov, B, 'leak');
    await expectNoLeak(() => tf.tidy(() => mvarForward(params, inputs, whole, markov)));
  });
});
