import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { expectClose } from '../../testkit/src/index.ts';
import { jvp, stopGradient, valueAndGrad, vjp } from '../src/autodiff.ts';
import { compile } from '../src/compile.ts';
import { customGradient } from '../src/custom-gradient.ts';
import { useEngine } from '../src/engine.ts';
import { tf, type Tensor } from '../src/tf.ts';

beforeEach(() => useEngine());

const wave = (n: number, k: number): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(k * i + 0.4));
/** Central difference of f along a direction, five points, in float32. */
const difference = (f: (x: Tensor) => Tensor, x: Tensor, v: Tensor, step = 0.02): Tensor => {
  const at = (k: number): Tensor => f(tf.add(x, tf.mul(v, k * step)));
  return tf.div(tf.sub(tf.mul(tf.sub(at(1), at(-1)), 8), tf.sub(at(2), at(-2))), 12 * step);
};

describe('jvp', () => {
  const functions: Record<string, (x: Tensor) => Tensor> = {
    'a product': (x) => tf.matMul(x, tf.tensor2d(wave(12, 1.7), [4, 3])),
    'softmax of a product': (x) => tf.softmax(tf.matMul(x, x, false, true)),
    'exp, tanh, sigmoid, sin, cos': (x) => tf.mul(tf.exp(tf.tanh(x)), tf.add(tf.sigmoid(x), tf.mul(tf.sin(x), tf.cos(x)))),
    'norm over the last axis': (x) => {
      const c = tf.sub(x, tf.mean(x, -1, true));
      return tf.div(c, tf.sqrt(tf.add(tf.mean(tf.square(c), -1, true), 1e-3)));
    },
    'moves of elements': (x) => tf.concat([tf.transpose(x), tf.reshape(tf.slice(x, [1, 0], [2, 3]), [2, 3]) as never].map((p) => tf.reshape(p, [-1])), 0), // prettier-ignore
    'convolution': (x) => tf.conv2d(tf.reshape(x, [1, 3, 4, 1]) as never, tf.tensor4d(wave(8, 0.9), [2, 2, 1, 2]), 1, 'same'), // prettier-ignore
  };
  for (const [name, f] of Object.entries(functions)) {
    it(`is the directional derivative of ${name}`, () => {
      const [x, v] = [tf.tensor2d(wave(12, 0.8), [3, 4]), tf.tensor2d(wave(12, 2.3), [3, 4])];
      const { value, tangent } = jvp(f, [x], [v]);
      expectClose(value, f(x), { max: 1e-6 });
      expectClose(tangent, difference(f, x, v), { max: 2e-3 }, name);
    });
  }

  it('is linear in the direction, and null means zero', () => {
    fc.assert(
      fc.property(fc.double({ min: -3, max: 3, noNaN: true }), (alpha) => {
        const f = (a: Tensor, b: Tensor): Tensor => tf.mul(tf.tanh(a), tf.square(b));
        const [a, b, va, vb] = [1.1, 0.3, 2.2, 0.7].map((k) => tf.tensor1d(wave(5, k))) as [Tensor, Tensor, Tensor, Tensor];
        const both = jvp(f, [a, b], [va, vb]).tangent;
        const first = jvp(f, [a, b], [va, null]).tangent;
        const second = jvp(f, [a, b], [null, vb]).tangent;
        expectClose(tf.add(first, second), both, { max: 1e-5 });
        expectClose(jvp(f, [a, b], [tf.mul(va, alpha), tf.mul(vb, alpha)]).tangent, tf.mul(both, alpha), { max: 1e-5, abs: 1e-6 });
      }),
      { numRuns: 10 },
    );
  });

  it('treats inputs that depend on each other on the caller’s tape as independent variables', () => {
    const derivative = tf.grad((t: Tensor) => {
      const h = tf.mul(t, 2);
      const { tangent } = jvp((a, b) => tf.mul(a, b!), [t, h], [tf.onesLike(t), tf.onesLike(t)]);
      return tf.sum(tf.add(stopGradient(tangent), tf.mul(t, 0)));
    });
    derivative(tf.tensor1d([3])).dispose();
    const t = tf.tensor1d([3]);
    expectClose(jvp((a, b) => tf.mul(a, b!), [t, tf.mul(t, 2)], [tf.onesLike(t), tf.onesLike(t)]).tangent, [9], { rel: 1e-6 });
  });

  it('inputs that the function ignores contribute zero', () => {
    const x = tf.tensor1d([1, 2]);
    expectClose(jvp((a) => tf.square(a), [x, x], [null, tf.onesLike(x)]).tangent, [0, 0], { abs: 0 });
  });

  it('costs one evaluation of the function and one of its derivative: the transposed pass is not in the graph', async () => {
    await useEngine('ort'); // the engine that has a graph to inspect
    const w = tf.tensor2d(wave(16, 1.1), [4, 4]);
    const f = (x: Tensor): Tensor => tf.matMul(tf.tanh(tf.matMul(x, w)), w);
    const compiled = compile((x: Tensor, v: Tensor) => {
      const { value, tangent } = jvp(f, [x], [v]);
      return [value, tangent];
    });
    const text = Buffer.from(compiled.onnx(tf.zeros([2, 4]), tf.zeros([2, 4]))).toString('latin1');
    expect(text.match(/MatMul/g)).toHaveLength(4);
  });

  it('refuses tangents that do not fit', () => {
    const x = tf.tensor1d([1, 2]);
    expect(() => jvp((a) => a, [x], [])).toThrow('jvp: wanted 1 tangents, one for each input, got 0');
    expect(() => jvp((a) => a, [x], [null])).toThrow(/at least one tangent that is not null/);
    expect(() => jvp((a) => a, [x], [tf.zeros([3])])).toThrow('jvp: tangent 0: wanted shape [2], got [3]');
  });
});

describe('vjp, valueAndGrad and stopGradient', () => {
  it('multiply a cotangent by the transposed Jacobian', () => {
    const [a, b] = [tf.tensor1d([1, 2]), tf.tensor1d([3, 4])];
    const { value, grads } = vjp((x, y) => tf.mul(x!, y!), [a, b], tf.tensor1d([1, 10]));
    expectClose(value, [3, 8], { abs: 0 });
    expectClose(grads[0]!, [3, 40], { abs: 0 });
    expectClose(grads[1]!, [1, 20], { abs: 0 });
  });

  it('give a tree of gradients, zeros for parameters that the loss ignores, and everything else that the function returns', () => {
    const params = { w: tf.tensor1d([1, 2]), nested: { unused: tf.tensor1d([5]) } };
    const before = tf.memory().numTensors;
    const { loss, aux, grads } = valueAndGrad((p) => ({ loss: tf.sum(tf.square(p.w)), aux: { double: tf.mul(p.w, 2) } }), params);
    expectClose(loss, [5], { abs: 0 });
    expectClose(grads.w, [2, 4], { abs: 0 });
    expectClose(grads.nested.unused, [0], { abs: 0 });
    expectClose(aux.double, [2, 4], { abs: 0 });
    tf.dispose([loss, aux, grads] as never);
    expect(tf.memory().numTensors).toBe(before);
    expect(() => valueAndGrad((p) => ({ loss: tf.square(p.w), aux: {} }), params)).toThrow(/wanted a scalar loss, got shape \[2\]/);
  });

  it('no gradient flows through a stopped tensor', () => {
    const x = tf.tensor1d([3]);
    expectClose(tf.grad((v: Tensor) => tf.sum(tf.mul(v, stopGradient(v))))(x), [3], { abs: 0 });
    const copy = stopGradient(x);
    x.dispose();
    expectClose(copy, [3], { abs: 0 });
  });
});

describe('customGradient', () => {
  it('counts the gradient once where an input is its own value', () => {
    const x = tf.tensor1d([1, 2]);
    const same = (v: Tensor): Tensor => customGradient([v], (input) => ({ value: input, kept: [], pullback: (dy) => [tf.mul(dy, 3)] }));
    const { grads } = vjp((v) => tf.square(same(v!)), [x], tf.tensor1d([1, 10]));
    expectClose(grads[0]!, [6, 120], { abs: 0 });
    expectClose(x, [1, 2], { abs: 0 });
  });
});
