import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { closedForm, customGradient, jvp, Rng, spreadLast, sumLast, tf, useEngine, type Tensor } from '../src/index.ts';
import { expectClose } from '../../testkit/src/index.ts';

beforeAll(async () => {
  await useEngine();
});
beforeEach(() => tf.engine().startScope());
afterEach(() => tf.engine().endScope());

describe('customGradient', () => {
  it('uses the given derivative for every input, and it can be transposed', () => {
    const rng = new Rng('custom');
    const [a, b] = [rng.child('a').normal([2, 3]), rng.child('b').normal([2, 3])];
    // A derivative that is not that of the product, so that the test can tell which one is used.
    const f = (x: Tensor, y: Tensor): Tensor =>
      customGradient([x, y], (p, q) => ({
        value: tf.mul(p, q),
        kept: [q, tf.mul(p, 3)],
        pullback: (dy, second, tripled) => [tf.mul(dy, tf.mul(second, 2)), tf.mul(dy, tripled)],
      }));
    const [da, db] = tf.grads(f)([a, b]);
    expectClose(da!, tf.mul(b, 2));
    expectClose(db!, tf.mul(a, 3), { rel: 1e-6 });
    expectClose(jvp(f, [a, b], [a, b]).tangent, tf.mul(tf.mul(a, b), 5), { rel: 1e-5 });
  });

  it('leaves a tensor that the function closes over without a gradient', () => {
    const [x, c] = [tf.tensor1d([2]), tf.tensor1d([5])];
    const f = (at: Tensor): Tensor => customGradient([x], (input) => ({ value: tf.mul(input, at), kept: [], pullback: (dy) => [dy] }));
    expect(() => tf.grad(f)(c)).toThrow();
  });
});

describe('closedForm', () => {
  it('keeps its input and takes a second derivative', () => {
    const x = tf.tensor1d([0.5, 2]);
    const cube = (v: Tensor): Tensor =>
      closedForm(
        v,
        (at) => tf.pow(at, 3),
        (dy, at) => tf.mul(dy, tf.mul(tf.square(at), 3)),
      );
    expectClose(tf.grad(cube)(x), [0.75, 12], { rel: 1e-6 });
    expectClose(tf.grad((v: Tensor) => tf.sum(tf.grad(cube)(v)))(x), [3, 12], { rel: 1e-6 });
  });
});

describe('sums over the last axis', () => {
  it('are each other’s transpose', () => {
    const x = new Rng(1).normal([2, 3, 4]);
    const y = new Rng(2).normal([2, 3, 1]);
    expectClose(sumLast(x), tf.sum(x, -1, true), { abs: 1e-6 });
    expectClose(tf.grad((v: Tensor) => tf.sum(tf.mul(sumLast(v), y)))(x), spreadLast(y, 4), { abs: 1e-6 });
    expectClose(jvp(sumLast, [x], [x]).tangent, tf.sum(x, -1, true), { abs: 1e-5 });
  });
});
