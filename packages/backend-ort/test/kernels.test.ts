import fc from 'fast-check';
import { describe, it } from 'vitest';
import { tf } from '../src/tf.ts';
import { expectAgreement, numbers, type Argument, type Tensor } from './agree.ts';

/** Every kernel of the first models against TensorFlow.js's own `cpu` engine, value and gradient, over shapes drawn at random. */

const shapes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 });
const size = (shape: number[]): number => shape.reduce((a, b) => a * b, 1);
const of = (shape: number[], seed: number, map: (x: number) => number = (x) => x): Argument => ({
  shape,
  data: numbers(size(shape), seed).map(map),
});
const check = (shape: fc.Arbitrary<number[]>, test: (shape: number[], seed: number) => Promise<void>, runs = 12): Promise<void> =>
  fc.assert(fc.asyncProperty(shape, fc.integer({ min: 1, max: 1e6 }), test), { numRuns: runs });

const positive = (x: number): number => 0.2 + Math.abs(x);
const unary: Record<string, { f: (x: Tensor) => Tensor; map?: (x: number) => number; flat?: true }> = {
  abs: { f: tf.abs },
  neg: { f: tf.neg },
  exp: { f: tf.exp },
  expm1: { f: tf.expm1 },
  log: { f: tf.log, map: positive },
  log1p: { f: tf.log1p, map: positive },
  sqrt: { f: tf.sqrt, map: positive },
  rsqrt: { f: tf.rsqrt, map: positive },
  square: { f: tf.square },
  reciprocal: { f: tf.reciprocal, map: positive },
  sigmoid: { f: tf.sigmoid },
  tanh: { f: tf.tanh },
  sin: { f: tf.sin },
  cos: { f: tf.cos },
  tan: { f: tf.tan },
  erf: { f: tf.erf },
  relu: { f: tf.relu },
  relu6: { f: (x) => tf.relu6(tf.mul(x, 10)) },
  elu: { f: tf.elu },
  selu: { f: tf.selu },
  leakyRelu: { f: (x) => tf.leakyRelu(x, 0.3) },
  softplus: { f: tf.softplus },
  atan: { f: tf.atan },
  asinh: { f: tf.asinh },
  clip: { f: (x) => tf.clipByValue(x, -0.5, 0.25) },
  floor: { f: (x) => tf.floor(tf.mul(x, 7)), flat: true },
  round: { f: (x) => tf.round(tf.mul(x, 7)), flat: true },
  sign: { f: tf.sign, flat: true },
};

describe('element-wise kernels', () => {
  for (const [name, { f, map, flat }] of Object.entries(unary)) {
    it(`${name}: value${flat ? '' : ' and gradient'} as on cpu`, () =>
      check(shapes, async (shape, seed) => {
        await expectAgreement(f, [of(shape, seed, map)]);
        if (!flat) await expectAgreement((x) => tf.grad((y) => tf.sum(tf.mul(f(y), y)))(x), [of(shape, seed, map)]);
      }));
  }

  it('keeps NaN and the infinities as cpu does', async () => {
    const special = { data: [NaN, Infinity, -Infinity, 0, -0, 1e30, -1e30, 1e-40], shape: [8] };
    for (const name of ['abs', 'exp', 'log', 'sqrt', 'relu', 'relu6', 'sigmoid', 'tanh', 'clip', 'sign', 'softplus', 'elu']) {
      await expectAgreement(unary[name]!.f, [special]);
    }
    for (const f of [tf.maximum, tf.minimum, tf.add, tf.mul, tf.div])
      await expectAgreement((a, b) => f(a, b), [special, { data: [1, NaN, 2, NaN, 0, 0, 1, 1], shape: [8] }]);
    for (const f of [tf.max, tf.min, tf.sum, tf.mean]) await expectAgreement((a) => f(a), [special]);
  });
});

describe('kernels on pairs', () => {
  const ops: Record<string, (a: Tensor, b: Tensor) => Tensor> = {
    add: tf.add,
    sub: tf.sub,
    mul: tf.mul,
    div: tf.div,
    maximum: tf.maximum,
    minimum: tf.minimum,
    squaredDifference: tf.squaredDifference,
    pow: (a, b) => tf.pow(tf.add(tf.abs(a), 0.5), b),
    atan2: tf.atan2,
  };
  for (const [name, f] of Object.entries(ops)) {
    it(`${name} broadcasts, value and gradient as on cpu`, () =>
      check(shapes, async (shape, seed) => {
        const other = shape.map((s, i) => (i % 2 === seed % 2 ? 1 : s));
        const args = [of(shape, seed), of(other.slice(seed % shape.length), seed + 1, positive)];
        await expectAgreement(f, args);
        // TensorFlow.js's gradients of these three do not sum over broadcast axes, on any engine.
        const same = ['maximum', 'minimum', 'squaredDifference'].includes(name) ? [args[0]!, of(shape, seed + 1, positive)] : args;
        await expectAgreement((a, b) => tf.grads((x: Tensor, y: Tensor) => tf.sum(f(x, y)))([a, b]), same, 1e-4);
      }));
  }

  it('compares, divides and takes remainders as cpu does, also by zero and of negative integers', async () => {
    const a: Argument = { data: [7, -7, 7, -7, 0, 5, -5, 3], shape: [8], dtype: 'int32' };
    const b: Argument = { data: [3, 3, -3, -3, 2, 5, 0, 0], shape: [8], dtype: 'int32' };
    for (const f of [tf.floorDiv, tf.equal, tf.less, tf.greaterEqual, tf.notEqual]) await expectAgreement((x, y) => f(x, y), [a, b]);
    await expectAgreement((x, y) => tf.mod(x, y), [a, { ...b, data: [3, 3, -3, -3, 2, 5, 4, 9] }]);
    await expectAgreement(
      (x, y) => tf.mod(x, y),
      [
        { data: [5.5, -5.5, 5.5, -5.5], shape: [4] },
        { data: [2, 2, -2, -2], shape: [4] },
      ],
    );
  });
});

describe('kernels that fold axes', () => {
  const folds: Record<string, (x: Tensor, axis: number[], keep: boolean) => Tensor> = {
    sum: (x, axis, keep) => tf.sum(x, axis, keep),
    mean: (x, axis, keep) => tf.mean(x, axis, keep),
    max: (x, axis, keep) => tf.max(x, axis, keep),
    min: (x, axis, keep) => tf.min(x, axis, keep),
    prod: (x, axis, keep) => tf.prod(x, axis, keep),
  };
  for (const [name, f] of Object.entries(folds)) {
    it(`${name} over every set of axes`, () =>
      check(shapes, async (shape, seed) => {
        const axes = shape.map((_, i) => i).filter((i) => (seed >> i) % 2 === 0);
        for (const keep of [false, true]) await expectAgreement((x) => f(x, axes, keep), [of(shape, seed)]);
        if (name === 'sum' || name === 'mean')
          await expectAgreement((x) => tf.grad((y) => tf.sum(tf.square(f(y, axes, false))))(x), [of(shape, seed)]);
      }));
  }

  it('softmax, log-softmax, cumsum, cumprod, argmax and topk', () =>
    check(shapes, async (shape, seed) => {
      const x = of(shape, seed);
      await expectAgreement((a) => tf.softmax(a), [x]);
      await expectAgreement((a) => tf.grad((y) => tf.sum(tf.square(tf.logSoftmax(y))))(a), [x], 1e-4);
      const axis = seed % shape.length;
      for (const exclusive of [false, true]) {
        for (const reverse of [false, true]) {
          await expectAgreement((a) => tf.cumsum(a, axis, exclusive, reverse), [x]);
          await expectAgreement((a) => tf.cumprod(a, axis, exclusive, reverse), [x]);
        }
      }
      await expectAgreement((a) => tf.argMax(a, axis), [x]);
      await expectAgreement((a) => Object.values(tf.topk(a, Math.min(2, shape.at(-1)!))), [x]);
    }));
});

describe('kernels that move elements', () => {
  it('transpose, tile, reverse, pad, concat, split, stack, slice, stridedSlice', () =>
    check(shapes, async (shape, seed) => {
      const x = of(shape, seed);
      const axis = seed % shape.length;
      const perm = shape.map((_, i) => (i + 1 + seed) % shape.length);
      await expectAgreement((a) => tf.transpose(a, perm), [x]);
      await expectAgreement((a) => tf.transpose(tf.transpose(a, perm), perm), [x]);
      await expectAgreement(
        (a) =>
          tf.tile(
            a,
            shape.map((_, i) => 1 + ((seed + i) % 3)),
          ),
        [x],
      );
      await expectAgreement((a) => tf.reverse(a, axis), [x]);
      await expectAgreement(
        (a) =>
          tf.pad(
            a,
            shape.map((_, i): [number, number] => [i % 2, (seed + i) % 3]),
            0.5,
          ),
        [x],
      );
      await expectAgreement((a) => tf.concat([a, tf.square(a), a], axis), [x]);
      await expectAgreement((a) => tf.stack([a, tf.neg(a)], axis), [x]);
      await expectAgreement((a) => tf.unstack(a, axis), [x]);
      await expectAgreement((a) => tf.split(a, shape[axis]!, axis), [x]);
      const begin = shape.map((s, i) => (seed + i) % s);
      await expectAgreement(
        (a) =>
          tf.slice(
            a,
            begin,
            shape.map((s, i) => s - begin[i]!),
          ),
        [x],
      );
      await expectAgreement(
        (a) =>
          tf.stridedSlice(
            a,
            shape.map((s) => s - 1),
            shape.map(() => 0),
            shape.map(() => -1),
          ),
        [x],
      );
      const half = shape.map((s, i) => (i === axis ? Math.ceil(s / 2) : s));
      const front = shape.map(() => 0);
      await expectAgreement((a) => tf.grad((y) => tf.sum(tf.square(tf.concat([y, tf.slice(y, front, half)], axis))))(a), [x]);
    }));

  it('gather with and without batches, scatter, segment sums, one-hot', async () => {
    const x = of([4, 3, 5], 3);
    const indices: Argument = { data: [2, 0, 1, 1, 2, 0, 0, 1], shape: [4, 2], dtype: 'int32' };
    await expectAgreement((a, i) => tf.gather(a, i, 1), [x, indices]);
    await expectAgreement((a, i) => tf.gather(a, i, 1, 1), [x, indices]);
    await expectAgreement((a, i) => tf.grad((y) => tf.sum(tf.square(tf.gather(y, tf.reshape(i, [8]), 0))))(a), [x, indices]);
    await expectAgreement((a, i) => tf.gatherND(a, i), [x, { data: [0, 1, 3, 2], shape: [2, 2], dtype: 'int32' }]);
    await expectAgreement((i, u) => tf.scatterND(i, u, [5, 3]), [{ data: [1, 4, 1], shape: [3, 1], dtype: 'int32' }, of([3, 3], 5)]);
    await expectAgreement(
      (a, i) => tf.unsortedSegmentSum(a, tf.reshape(i, [4]) as never, 3),
      [x, { data: [2, 0, 2, -1], shape: [4], dtype: 'int32' }],
    );
    await expectAgreement((i) => tf.oneHot(i, 3), [indices]);
  });
});

describe('matrix products and convolutions', () => {
  it('matmul with every transposition and broadcast batches, value and gradient', () =>
    check(
      fc.tuple(...[1, 2, 3, 4, 5].map(() => fc.integer({ min: 1, max: 6 }))).map((sizes) => [...sizes]),
      async ([b, m, k, n, wide], seed) => {
        for (const [ta, tb] of [
          [false, false],
          [true, false],
          [false, true],
          [true, true],
        ] as const) {
          const a = of([b!, ...(ta ? [k!, m!] : [m!, k!])], seed);
          const c = of([b!, ...(tb ? [n!, k!] : [k!, n!])], seed + 1);
          await expectAgreement((x, y) => tf.matMul(x, y, ta, tb), [a, c]);
          await expectAgreement(
            (x, y) => tf.grads((p: Tensor, q: Tensor) => tf.sum(tf.square(tf.matMul(p, q, ta, tb))))([x, y]),
            [a, c],
            1e-4,
          );
        }
        await expectAgreement((x, y) => tf.matMul(x, y), [of([wide!, b!, m!, k!], seed), of([1, b!, k!, n!], seed)]);
      },
    ));

  it('conv2d with strides, dilations and every padding, value and both gradients', async () => {
    const [x, filter] = [of([2, 9, 7, 3], 1), of([3, 2, 3, 4], 2)];
    for (const strides of [1, 2, 3]) {
      for (const pad of ['same', 'valid', 1] as const) {
        const f = (a: Tensor, w: Tensor): Tensor => tf.conv2d(a as never, w as never, strides, pad);
        await expectAgreement(f, [x, filter]);
        await expectAgreement((a, w) => tf.grads((p: Tensor, q: Tensor) => tf.sum(tf.square(f(p, q))))([a, w]), [x, filter], 1e-4);
      }
    }
    await expectAgreement((a, w) => tf.conv2d(a as never, w as never, 1, 'same', 'NHWC', 2), [x, filter]);
  });
});

describe('zero-sized tensors', () => {
  it('fold, concatenate and multiply to the neutral element', async () => {
    const empty: Argument = { data: [], shape: [0, 3] };
    await expectAgreement((x) => tf.sum(x, 0), [empty]);
    await expectAgreement((x) => tf.prod(x, 0), [empty]);
    await expectAgreement((x) => tf.add(x, 1), [empty]);
    await expectAgreement((x, y) => tf.concat([x, y], 0), [empty, of([2, 3], 1)]);
    await expectAgreement((x, y) => tf.matMul(x, y, true, false), [empty, { data: [], shape: [0, 2] }]);
  });
});

describe('far from zero', () => {
  it('the tangent keeps its digits next to its poles and at large arguments', () =>
    expectAgreement(
      (x) => tf.div(tf.tan(x), tf.add(1, tf.abs(tf.tan(x)))),
      [{ data: [1.5707, 1.57079, -1.5708, 4.712, 1e5, -3e6, 12345.678, 0, 1e-30], shape: [9] }],
      1e-6,
    ));
});
