import fc from 'fast-check';
import { compile, engineName, Rng, tf, treeMap, useEngine, type Tensor } from '@atelier/tensor';
import { expectClose, expectNoLeak } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { adamW, clipByGlobalNorm, emaUpdate, sgd, type AdamWOptions } from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

/** A changing rate must not trace again; engines without graphs make none. */
const oneGraph = (): number => (engineName() === 'ort' ? 1 : 0);

type Params = { a: Tensor; list: Tensor[] };
const shapes = [[2, 3], [4]] as const;
const makeParams = (rng: Rng): Params => ({ a: rng.child('a').normal(shapes[0]), list: [rng.child('b').normal(shapes[1])] });
const flat = (p: Params): number[] => [...p.a.dataSync(), ...p.list[0]!.dataSync()];

/** PyTorch's AdamW in plain numbers (torch/optim/adamw.py), with its bias corrections as powers. */
function hostAdamW(
  theta: number[],
  grads: number[][],
  rates: number[],
  { b1 = 0.9, b2 = 0.999, eps = 1e-8, weightDecay = 0, mask }: AdamWOptions,
): number[] {
  const out = [...theta];
  const m = theta.map(() => 0);
  const v = theta.map(() => 0);
  grads.forEach((g, step) => {
    const lr = rates[step]!;
    const [c1, c2] = [1 - b1 ** (step + 1), 1 - b2 ** (step + 1)];
    for (let i = 0; i < out.length; i++) {
      if (mask === undefined || mask(i < 6 ? 'a' : 'list.0')) out[i]! *= 1 - lr * weightDecay;
      m[i] = b1 * m[i]! + (1 - b1) * g[i]!;
      v[i] = b2 * v[i]! + (1 - b2) * g[i]! ** 2;
      out[i]! -= ((lr / c1) * m[i]!) / (Math.sqrt(v[i]!) / Math.sqrt(c2) + eps);
    }
  });
  return out;
}

/** 50 steps of an optimizer in one compiled function, with gradients that do not depend on the parameters. */
function trajectory(optimizer: ReturnType<typeof adamW> | ReturnType<typeof sgd>, rng: Rng, rates: number[], scale = 1) {
  const start = makeParams(rng.child('start'));
  const gradients = rates.map((_, i) => treeMap((leaf) => tf.mul(leaf, scale), makeParams(rng.child(`gradient ${i}`))));
  const { init, update } = optimizer as ReturnType<typeof adamW>;
  const step = compile(
    (grads: Params, state: ReturnType<typeof init>, params: Params, rate: Tensor) => update(grads, state, params, rate),
    { donate: [1] },
  );
  let params = start;
  let state = init(start);
  gradients.forEach((grads, i) => ({ params, state } = step(grads, state, params, tf.scalar(rates[i]!))));
  return { start: flat(start), gradients: gradients.map(flat), end: flat(params), state, graphs: step.graphs };
}

const rates = Array.from({ length: 50 }, (_, i) => 0.01 * (1 - i / 60));

describe('adamW', () => {
  it.each([
    ['Adam', {}],
    ['Adam with β₂ of MeanFlow', { b1: 0.9, b2: 0.95 }],
    ['decoupled decay', { weightDecay: 0.1 }],
    ['decay of some parameters', { weightDecay: 0.3, mask: (path: string) => path === 'a' }],
    ['an ε that matters', { eps: 0.3, weightDecay: 0.05 }],
    ['no memory', { b1: 0, b2: 0 }],
  ] as const)('%s: 50 steps as in PyTorch', (_, options) => {
    const { start, gradients, end, state, graphs } = trajectory(adamW(options), new Rng(31), rates);
    expectClose(end, hostAdamW(start, gradients, rates, options), { abs: 2e-6, rel: 2e-6 });
    expect(state.step.dataSync()[0]).toBe(50);
    expect(graphs).toBe(oneGraph());
  });

  it('keeps ε outside the root: gradients as small as ε count less', () => {
    const { start, gradients, end } = trajectory(adamW(), new Rng(32), rates, 1e-8);
    const moved = end.map((value, i) => value - start[i]!);
    const expected = hostAdamW(start, gradients, rates, {}).map((value, i) => value - start[i]!);
    expectClose(moved, expected, { abs: 2e-6 });
    const without = hostAdamW(start, gradients, rates, { eps: 0 }).map((value, i) => value - start[i]!);
    expect(Math.max(...moved.map((value, i) => Math.abs(value - without[i]!)))).toBeGreaterThan(0.01);
  });

  it('holds PyTorch’s moments up to a factor', () => {
    const { gradients, state } = trajectory(adamW({ b2: 0.99 }), new Rng(33), rates);
    const average = (b: number, f: (g: number) => number): number[] =>
      gradients[0]!.map((_, i) => gradients.reduce((m, g) => b * m + (1 - b) * f(g[i]!), 0));
    const scaled = (sum: unknown, factor: number): number[] => flat(sum as Params).map((v) => v * factor);
    expectClose(
      scaled(state.sum1, 1 - 0.9),
      average(0.9, (g) => g),
      { abs: 1e-6 },
    );
    expectClose(
      scaled(state.sum2, 1 - 0.99),
      average(0.99, (g) => g * g),
      { rel: 1e-5 },
    );
  });

  it('keeps its corrections exact over many steps', () => {
    const { update, init } = adamW();
    const params = { w: tf.tensor1d([1]) };
    const step = compile((state: ReturnType<typeof init>) => update({ w: tf.tensor1d([1]) }, state, params, tf.scalar(0)).state, {
      donate: [0],
    });
    let state = init(params);
    for (let i = 0; i < 600; i++) state = step(state);
    expectClose(state.weight2, [(1 - 0.999 ** 600) / 0.001], { rel: 1e-4 });
    expectClose(state.weight1, [10], { rel: 1e-5 });
  });

  it('leaves no tensor behind', async () => {
    const { update, init } = adamW({ weightDecay: 0.1 });
    const params = makeParams(new Rng(1));
    const state = init(params);
    const rate = tf.scalar(0.1);
    await expectNoLeak(() => tf.tidy(() => update(params, state, params, rate).params as never));
  });

  it('refuses what does not fit', () => {
    expect(() => adamW({ b1: 1 })).toThrow('adamW: b1: wanted a finite number at least 0 and below 1, got 1');
    expect(() => adamW({ b2: -0.1 })).toThrow('adamW: b2: wanted a finite number at least 0 and below 1, got -0.1');
    expect(() => adamW({ eps: NaN })).toThrow('adamW: eps: wanted a finite number at least 0, got NaN');
    expect(() => adamW({ weightDecay: -1 })).toThrow('adamW: weightDecay: wanted a finite number at least 0, got -1');
    const { update, init } = adamW();
    const params = makeParams(new Rng(1));
    expect(() => update(params, init(params), params, tf.ones([1]))).toThrow('adamW: learningRate: wanted a scalar tensor, got shape [1]');
    expect(() => update(params, init(params), params, 0.1 as never)).toThrow('adamW: learningRate: wanted a scalar tensor, got number');
    expect(() => update({ a: params.a } as never, init(params), params, tf.scalar(1))).toThrow("'list' is missing");
  });
});

describe('sgd', () => {
  it.each([0, 0.9])('with momentum %f: 50 steps as in PyTorch', (momentum) => {
    const { start, gradients, end, state } = trajectory(sgd({ momentum }) as never, new Rng(41), rates);
    const velocity = start.map(() => 0);
    const expected = [...start];
    gradients.forEach((g, step) =>
      g.forEach((value, i) => (expected[i]! -= rates[step]! * (velocity[i] = momentum * velocity[i]! + value))),
    );
    expectClose(end, expected, { abs: 2e-6, rel: 2e-6 });
    expect(state.step.dataSync()[0]).toBe(50);
  });

  it('refuses what does not fit', () => {
    expect(() => sgd({ momentum: 1 })).toThrow('sgd: momentum: wanted a finite number at least 0 and below 1, got 1');
    const params = makeParams(new Rng(1));
    const { update, init } = sgd();
    expect(() => update(params, init(params), params, tf.ones([2]))).toThrow('sgd: learningRate: wanted a scalar tensor, got shape [2]');
  });
});

describe('clipByGlobalNorm', () => {
  it('scales to the bound, and leaves smaller gradients as they are', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.1, max: 20, noNaN: true }), fc.integer(), (max, seed) => {
        const grads = makeParams(new Rng(seed));
        const norm = Math.hypot(...flat(grads));
        const clipped = clipByGlobalNorm(grads, max);
        expectClose(clipped.norm, [norm], { rel: 1e-5 });
        const factor = Math.min(1, max / (norm + 1e-6));
        expectClose(
          flat(clipped.grads),
          flat(grads).map((g) => g * factor),
          factor === 1 ? {} : { rel: 1e-5 },
        );
      }),
      { numRuns: 10 },
    );
  });

  it('shows a gradient that is not finite', () => {
    const clipped = clipByGlobalNorm({ a: tf.tensor1d([1, NaN]), b: tf.tensor1d([2]) }, 1);
    expect(clipped.norm.dataSync()[0]).toBeNaN();
    expect(clipped.grads.b.dataSync()[0]).toBeNaN();
    const infinite = clipByGlobalNorm({ a: tf.tensor1d([Infinity, 1]), b: tf.tensor1d([2]) }, 1);
    expect([...infinite.norm.dataSync(), ...infinite.grads.a.dataSync(), ...infinite.grads.b.dataSync()]).toEqual([NaN, NaN, NaN, NaN]);
  });

  it('has the norm of gradients whose squares are out of range', () => {
    const clip = (values: number[], max: number): { norm: number; grads: Float32Array } => {
      const { norm, grads } = compile((g: Tensor) => clipByGlobalNorm({ g }, max))(tf.tensor1d(values));
      return { norm: norm.dataSync()[0]!, grads: grads.g.dataSync() as Float32Array };
    };
    const large = clip([1e20, 1e20, 1e20], 1);
    expectClose([large.norm], [Math.sqrt(3) * 1e20], { rel: 1e-6 });
    expectClose(large.grads, new Float32Array(3).fill(1 / Math.sqrt(3)), { rel: 1e-6 });
    const small = clip([3e-25, 4e-25], 1);
    expectClose([small.norm], [5e-25], { rel: 1e-6 });
    expectClose(small.grads, Float32Array.of(3e-25, 4e-25));
    expect([...clip([0, 0], 1).grads]).toEqual([0, 0]);
  });

  it('refuses what does not fit', () => {
    expect(() => clipByGlobalNorm({ a: tf.ones([1]) }, 0)).toThrow('clipByGlobalNorm: max: wanted a finite number above 0, got 0');
    expect(() => clipByGlobalNorm({}, 1)).toThrow('clipByGlobalNorm: grads: wanted at least one tensor, got none');
  });
});

describe('emaUpdate', () => {
  it('averages as plain numbers do, over 50 steps of changing decay', () => {
    const rng = new Rng(51);
    const step = compile((average: Params, params: Params, decay: Tensor) => emaUpdate(average, params, decay));
    let average = makeParams(rng.child('start'));
    const expected = flat(average);
    for (let i = 0; i < 50; i++) {
      const params = makeParams(rng.child(`params ${i}`));
      const decay = Math.min(0.99, (i + 1) / (i + 10));
      average = step(average, params, tf.scalar(decay));
      flat(params).forEach((value, k) => (expected[k]! = decay * expected[k]! + (1 - decay) * value));
    }
    expectClose(flat(average), expected, { abs: 2e-6 });
    expect(step.graphs).toBe(oneGraph());
  });

  it('with decay 1 changes no bit, with decay 0 takes the parameters', () => {
    const [a, b] = [makeParams(new Rng(1)), makeParams(new Rng(2))];
    expectClose(flat(emaUpdate(a, b, tf.scalar(1))), flat(a));
    expectClose(flat(emaUpdate(a, b, tf.scalar(0))), flat(b), { abs: 5e-7 });
  });

  it('moves by 1 - decay to float32 precision, however near to 1 the decay is', () => {
    for (const decay of [0.9, 0.9999, 0.999999, 0.99999999]) {
      const [a, b] = [{ w: tf.zeros([2]) as Tensor }, { w: tf.ones([2]) as Tensor }];
      const moved = [1 - decay, 1 - decay];
      expectClose(emaUpdate(a, b, decay).w, moved, { rel: 2e-7 });
      const step = compile((average: typeof a, params: typeof a, rate: Tensor) => emaUpdate(average, params, { rate }));
      expectClose(step(a, b, tf.scalar(1 - decay)).w, moved, { rel: 2e-7 });
    }
  });

  it('refuses what is no decay', () => {
    const a = makeParams(new Rng(1));
    expect(() => emaUpdate(a, a, 1.5)).toThrow('emaUpdate: decay: wanted a finite number at least 0 and at most 1, got 1.5');
    expect(() => emaUpdate(a, a, '0.9' as never)).toThrow('emaUpdate: decay: wanted a scalar tensor, got string');
    expect(() => emaUpdate(a, a, { rate: tf.ones([2]) })).toThrow('emaUpdate: rate: wanted a scalar tensor, got shape [2]');
  });
});
