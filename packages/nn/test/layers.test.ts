import fc from 'fast-check';
import { compile, engineName, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { checkLayer, expectClose } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { gelu, initLinear, layerNorm, linear, mlp, modulate, rmsNorm, silu, softmax } from '../src/index.ts';
import { hostGeluErf, hostGeluTanh, hostLinear, hostNorm, hostSilu, hostSoftmax } from './host.ts';

beforeAll(async () => {
  await useEngine();
});

const small = fc.integer({ min: 1, max: 4 });
const few = { numRuns: 6 };

describe('activations', () => {
  it('the tanh GELU is one operator if no gradient needs its parts', ({ skip }) => {
    skip(engineName() !== 'ort', 'only ort has this operator');
    const rng = new Rng('one operator');
    const p = initLinear(rng.child('layer'), 6, 5);
    const [x, b] = [rng.normal([7, 6]), rng.child('bias').normal([5])];
    const forward = (v: Tensor): Tensor => gelu(linear({ weight: p.weight, bias: b }, v), 'tanh');
    const backward = (v: Tensor): Tensor => valueAndGrad((q) => ({ loss: tf.sum(forward(q)), aux: {} }), v).grads;
    const [one, both] = [compile(forward), compile((v: Tensor) => ({ y: forward(v), g: backward(v) }))];
    const operators = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
    expect(operators(one.onnx(x))).toContain('Gelu');
    expect(operators(one.onnx(x))).not.toContain('Sigmoid');
    expect(operators(both.onnx(x))).not.toContain('Gelu');
    expect(both.profile(x).find(({ op }) => op === 'Sigmoid' || op === 'QuickGelu')?.nodes).toBe(1);
    const { y, g } = both(x);
    expectClose(one(x), forward(x), { max: 1e-6 });
    expectClose(y, forward(x), { max: 1e-6 });
    expectClose(g, backward(x), { max: 1e-6 });
  });

  it.each([
    ['gelu tanh', (x: Tensor) => gelu(x, 'tanh'), hostGeluTanh],
    ['gelu erf', (x: Tensor) => gelu(x, 'erf'), hostGeluErf],
    ['silu', silu, hostSilu],
  ] as const)('%s: value, gradient, forward mode', (_, layer, host) => {
    fc.assert(
      fc.property(small, small, fc.integer(), (B, D, seed) => {
        const rng = new Rng(seed);
        const x = tf.tidy(() => tf.mul(rng.child('x').normal([B, 3, D]), 1.5));
        checkLayer(layer, (v) => v.map(host), [x], rng);
      }),
      few,
    );
  });

  it('tends to 0 for very negative x and to x for very large x, with finite derivatives', () => {
    const x = tf.tensor1d([-200, -40, 40, 200]);
    for (const f of [(v: Tensor) => gelu(v, 'tanh'), (v: Tensor) => gelu(v, 'erf'), silu]) {
      expectClose(f(x), [0, 0, 40, 200], { abs: 1e-6, rel: 1e-6 });
      expectClose(tf.grad(f)(x), [0, 0, 1, 1], { abs: 1e-6 });
    }
  });

  it('has exact second derivatives with respect to its input', () => {
    const x = tf.tensor1d([-1.5, -0.2, 0.3, 2]);
    for (const [f, host] of [
      [(v: Tensor) => gelu(v, 'tanh'), hostGeluTanh],
      [(v: Tensor) => gelu(v, 'erf'), hostGeluErf],
      [silu, hostSilu],
    ] as const) {
      const second = tf.grad((v: Tensor) => tf.grad(f)(v))(x);
      const step = 1e-4;
      const expected = Array.from(x.dataSync(), (v) => (host(v + step) - 2 * host(v) + host(v - step)) / step ** 2);
      expectClose(second, expected, { abs: 2e-6, rel: 1e-5 });
    }
  });

  it('softmax: value, gradient, forward mode; rows sum to 1', () => {
    fc.assert(
      fc.property(small, fc.integer({ min: 2, max: 6 }), fc.integer(), (B, T, seed) => {
        const rng = new Rng(seed);
        const x = rng.child('x').normal([B, 2, T]);
        checkLayer(softmax, (v) => hostSoftmax(v, T), [x], rng);
        expectClose(tf.sum(softmax(x), -1), new Float32Array(B * 2).fill(1), { abs: 1e-6 });
      }),
      few,
    );
  });

  it('refuses an unknown kind', () => {
    expect(() => gelu(tf.scalar(1), 'sigmoid' as never)).toThrow("gelu: wanted kind 'tanh' or 'erf', got sigmoid");
    const p = { fc1: { weight: tf.ones([2, 2]), bias: tf.zeros([2]) }, fc2: { weight: tf.ones([2, 2]), bias: tf.zeros([2]) } };
    expect(() => mlp(p, tf.ones([1, 2]), 'relu' as never)).toThrow("mlp: wanted activation 'gelu-tanh', 'gelu-erf' or 'silu', got relu");
  });
});

describe('norms', () => {
  it.each([
    ['layerNorm', layerNorm, true],
    ['rmsNorm', rmsNorm, false],
  ] as const)('%s: value, gradient, forward mode, with and without weight and bias', (_, norm, centered) => {
    fc.assert(
      fc.property(small, fc.integer({ min: 3, max: 7 }), fc.integer(), (B, D, seed) => {
        const rng = new Rng(seed);
        const [x, weight, bias] = [rng.child('x').normal([B, 2, D]), rng.child('w').normal([D]), rng.child('b').normal([D])];
        // An eps that is not small compared to the variance, so that its place in the formula matters.
        checkLayer(
          (v) => norm(v!, { eps: 0.1 }),
          (v) => hostNorm(v!, D, 0.1, centered),
          [x],
          rng,
        );
        checkLayer(
          (v, w, b) => norm(v!, { eps: 1e-2, weight: w!, bias: b! }),
          (v, w, b) => hostNorm(v!, D, 1e-2, centered).map((value, i) => value * w![i % D]! + b![i % D]!),
          [x, weight, bias],
          rng,
        );
      }),
      few,
    );
  });

  it('a token of tiny variance is not treated as one with zero variance', () => {
    const x = tf.tensor2d([
      [1, 1.001, 0.999, 1],
      [3, 3, 3, 3],
    ]);
    expectClose(layerNorm(x, { eps: 1e-6 }), hostNorm(Float64Array.from(x.dataSync()), 4, 1e-6, true), { abs: 2e-3 });
  });

  it('has an exact second derivative', () => {
    const x = tf.tensor1d([0.3, -1, 0.8, 2]);
    const w = tf.tensor1d([1, -2, 0.5, 0.7]);
    const gradient = (v: Tensor): Tensor => tf.grad((u: Tensor) => tf.sum(tf.mul(w, layerNorm(u, { eps: 1e-2 }))))(v);
    const direction = tf.tensor1d([0.2, 0.5, -0.4, 1]);
    const second = tf.grad((v: Tensor) => tf.sum(tf.mul(gradient(v), direction)))(x);
    const step = 1e-2;
    const difference = tf.div(tf.sub(gradient(tf.add(x, tf.mul(direction, step))), gradient(tf.sub(x, tf.mul(direction, step)))), 2 * step);
    expectClose(second, difference, { max: 2e-3 });
  });

  it('modulates by 1 + scale and shift', () => {
    const rng = new Rng(5);
    const [x, shift, scale] = [rng.child('x').normal([2, 3, 4]), rng.child('s').normal([2, 1, 4]), rng.child('g').normal([2, 1, 4])];
    const at = (i: number): number => Math.floor(i / 12) * 4 + (i % 4);
    checkLayer(
      (v, s, g) => modulate(v!, s!, g!),
      (v, s, g) => v!.map((value, i) => value * (1 + g![at(i)]!) + s![at(i)]!),
      [x, shift, scale],
      rng,
    );
  });

  it('refuses what does not fit', () => {
    expect(() => layerNorm(tf.scalar(1), { eps: 1e-6 })).toThrow('layerNorm: wanted a tensor with a last axis to normalize, got a scalar');
    expect(() => layerNorm(tf.ones([2, 3]), { eps: -1 })).toThrow('layerNorm: eps: wanted a finite number at least 0, got -1');
    expect(() => layerNorm(tf.ones([2, 3]), {} as never)).toThrow('layerNorm: eps: wanted a finite number at least 0, got undefined');
    expect(() => rmsNorm(tf.ones([2, 3]), { eps: 1e-6, weight: tf.ones([2]) })).toThrow('rmsNorm: weight: wanted shape [D=3], got [2]');
    expect(() => layerNorm(tf.ones([2, 3]), { eps: 1e-6, bias: tf.ones([3, 1]) })).toThrow(
      'layerNorm: bias: wanted shape [D=3], got [3, 1]',
    );
  });
});

describe('linear', () => {
  it('value, gradient, forward mode on any rank, with and without bias', () => {
    fc.assert(
      fc.property(fc.array(small, { maxLength: 3 }), small, small, fc.integer(), (lead, width, out, seed) => {
        const rng = new Rng(seed);
        const [x, w, b] = [rng.child('x').normal([...lead, width]), rng.child('w').normal([out, width]), rng.child('b').normal([out])];
        checkLayer(
          (v, weight, bias) => linear({ weight: weight!, bias: bias! }, v!),
          (v, weight, bias) => hostLinear(v!, weight!, bias!),
          [x, w, b],
          rng,
        );
        checkLayer(
          (v, weight) => linear({ weight: weight! }, v!),
          (v, weight) => hostLinear(v!, weight!, new Float64Array(out)),
          [x, w],
          rng,
        );
        expect(linear({ weight: w }, x).shape).toEqual([...lead, out]);
      }),
      few,
    );
  });

  it('an MLP is linear, GELU, linear', () => {
    const rng = new Rng(9);
    const [x, w1, b1] = [rng.child('x').normal([2, 3, 4]), rng.child('w1').normal([6, 4]), rng.child('b1').normal([6])];
    const [w2, b2] = [rng.child('w2').normal([4, 6]), rng.child('b2').normal([4])];
    for (const [kind, host] of [
      ['gelu-tanh', hostGeluTanh],
      ['gelu-erf', hostGeluErf],
      ['silu', hostSilu],
    ] as const) {
      checkLayer(
        (v, ...p) => mlp({ fc1: { weight: p[0]!, bias: p[1]! }, fc2: { weight: p[2]!, bias: p[3]! } }, v!, kind),
        (v, ...p) => hostLinear(hostLinear(v!, p[0]!, p[1]!).map(host), p[2]!, p[3]!),
        [x, w1, b1, w2, b2],
        rng,
        { value: 5e-6, derivative: 5e-5 },
      );
    }
  });

  it('initial values follow the given rule', () => {
    const rng = new Rng(4);
    const bound = Math.sqrt(6 / (300 + 100));
    const w = initLinear(rng, 100, 300).weight.dataSync();
    expect(Math.max(...w)).toBeLessThanOrEqual(bound);
    expect(Math.max(...w)).toBeGreaterThan(0.99 * bound);
    expect(Math.min(...w)).toBeLessThan(-0.99 * bound);
    expectClose(initLinear(rng, 5, 2, { init: 'zeros' }).weight, new Float32Array(10));
    const normal = initLinear(rng, 100, 300, { init: { normal: 0.02 } }).weight.dataSync();
    const std = Math.sqrt(Array.from(normal).reduce((sum, v) => sum + v * v, 0) / normal.length);
    expect(Math.abs(std / 0.02 - 1)).toBeLessThan(0.02); // 4 standard errors of 30,000 draws
    const torch = initLinear(rng, 100, 300, { init: 'torch' }).weight.dataSync();
    expect(Math.max(...torch)).toBeGreaterThan(0.099);
    expect(Math.max(...torch)).toBeLessThanOrEqual(Math.fround(0.1));
    const within = initLinear(rng, 100, 300, { init: { uniform: 0.25 } }).weight.dataSync();
    expect(Math.max(...within)).toBeGreaterThan(0.249);
    expect(Math.min(...within)).toBeGreaterThanOrEqual(-0.25);
    expectClose(initLinear(rng, 5, 2).bias, [0, 0]);
  });

  it('refuses what does not fit', () => {
    const weight = tf.ones([2, 3]);
    expect(() => linear({ weight }, tf.ones([4, 2]))).toThrow('linear: x: wanted shape [..., 3], got [4, 2]');
    expect(() => linear({ weight }, tf.scalar(1))).toThrow('linear: x: wanted shape [..., 3], got []');
    expect(() => linear({ weight: tf.ones([3]) }, tf.ones([4, 3]))).toThrow('linear: weight: wanted shape [out, width], got [3]');
    expect(() => linear({ weight, bias: tf.ones([3]) }, tf.ones([4, 3]))).toThrow('linear: bias: wanted shape [out=2], got [3]');
    expect(() => initLinear(new Rng(1), 0, 3)).toThrow('initLinear: inputs: wanted an integer at least 1, got 0');
    expect(() => initLinear(new Rng(1), 2, 1.5)).toThrow('initLinear: outputs: wanted an integer at least 1, got 1.5');
    expect(() => initLinear(new Rng(1), 2, 2, { init: 'he' as never })).toThrow(
      "initTensor: wanted 'zeros', 'ones', 'xavier', 'torch', { uniform } or { normal }, got he",
    );
  });
});
