import { tf, useEngine, type Tensor } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  centralDifference,
  directionalDifference,
  expectClose,
  expectGradients,
  tensorDifference,
  tensorDirectionalDifference,
} from '../src/index.ts';

beforeAll(async () => {
  await useEngine();
});

describe('centralDifference (float64)', () => {
  it('of x² y + sin(x) is (2xy + cos x, x²), to 1e-12', () => {
    const [x, y] = [Float64Array.of(0.7, -1.3), Float64Array.of(2, 0.4)];
    const f = (u: Float64Array, v: Float64Array): number => u.reduce((sum, a, i) => sum + a * a * v[i]! + Math.sin(a), 0);
    const [dx, dy] = centralDifference(f, [x, y]);
    expectClose(
      dx!,
      Array.from(x, (a, i) => 2 * a * y[i]! + Math.cos(a)),
      { abs: 1e-12 },
    );
    expectClose(
      dy!,
      Array.from(x, (a) => a * a),
      { abs: 1e-12 },
    );
    expect([...x]).toEqual([0.7, -1.3]);
  });

  it('is exact for polynomials of fourth degree', () => {
    const [d] = centralDifference((x) => x![0]! ** 4, [Float64Array.of(0.5)], { step: 0.25 });
    expect(d![0]).toBe(0.5);
  });

  it('pairs several outputs with a cotangent', () => {
    // f = (x y, x + y), w = (3, 5): gradient (3y + 5, 3x + 5).
    const f = (x: Float64Array): number[] => [x[0]! * x[1]!, x[0]! + x[1]!];
    const [d] = centralDifference(f, [Float64Array.of(2, 7)], { cotangent: [3, 5] });
    expectClose(d!, [26, 11], { abs: 1e-11 });
    expect(() => centralDifference(f, [Float64Array.of(2, 7)])).toThrow(
      'centralDifference: wanted a cotangent of 2 numbers, one for each output, got 0',
    );
    expect(() => centralDifference(f, [Float64Array.of(2, 7)], { cotangent: [1] })).toThrow('got 1');
  });

  it('directionalDifference of (x y, x + y) along (1, -2) is (y - 2x, -1)', () => {
    const f = (x: Float64Array, y: Float64Array): number[] => [x[0]! * y[0]!, x[0]! + y[0]!];
    const d = directionalDifference(f, [Float64Array.of(2), Float64Array.of(7)], [[1], [-2]]);
    expectClose(d, [3, -1], { abs: 1e-11 });
    expect(() => directionalDifference(f, [Float64Array.of(2)], [])).toThrow(
      'directionalDifference: wanted tangents of [1] numbers, got []',
    );
    expect(() => directionalDifference(f, [Float64Array.of(2)], [[1, 2]])).toThrow('wanted tangents of [1] numbers, got [2]');
  });

  it('refuses a step that is none', () => {
    for (const step of [0, -1, NaN, Infinity]) {
      expect(() => centralDifference(() => 0, [Float64Array.of(1)], { step })).toThrow(
        `centralDifference: wanted a finite step > 0, got ${step}`,
      );
    }
  });
});

describe('tensorDifference (float32, on the engine)', () => {
  const a = (): Tensor => tf.tensor2d([0.3, -0.8, 1.2, 0.1, -0.4, 0.9], [2, 3]);
  const b = (): Tensor => tf.tensor2d([0.5, -0.2, 0.7, 1.1, -0.6, 0.4], [3, 2]);
  const f = (x: Tensor, y: Tensor): Tensor => tf.tanh(tf.matMul(x, y));
  const cotangent = [1, -2, 0.5, 3];

  it('agrees with the derived gradients and leaves no tensor behind', () => {
    const [x, y] = [a(), b()];
    const before = tf.memory().numTensors;
    expectGradients(f, [x, y], { cotangent, max: 1e-4 });
    const [dx, dy] = tensorDifference(f, [x, y], { cotangent });
    expect([dx!.shape, dy!.shape]).toEqual([
      [2, 3],
      [3, 2],
    ]);
    expect(tf.memory().numTensors).toBe(before);
  });

  it('finds a wrong gradient and names the input', () => {
    // The value is x y², the gradient to y claims x y instead of 2 x y.
    const wrong = tf.customGrad((x, y) => {
      const [u, v] = [x as Tensor, y as Tensor];
      return { value: tf.mul(u, tf.square(v)), gradFunc: (dy: Tensor) => [tf.mul(dy, tf.square(v)), tf.mul(dy, tf.mul(u, v))] };
    });
    const check = (): void => expectGradients((x, y) => wrong(x!, y!), [tf.scalar(1.5), tf.scalar(2)], { max: 1e-3 }, 'x y²');
    expect(check).toThrow(/^x y²: input 1: 1 of 1 values are out of bounds, worst at index 0: got 3, wanted [56]/);
  });

  it('gives J·ẋ with the shape of the output', () => {
    const [x, y] = [a(), b()];
    const [dx, dy] = [tf.mul(x, 0.5), tf.ones([3, 2])];
    const got = tensorDirectionalDifference(f, [x, y], [dx, dy]);
    expect(got.shape).toEqual([2, 2]);
    // d tanh(xy) = (1 - tanh²(xy)) (dx y + x dy)
    const wanted = tf.mul(tf.sub(1, tf.square(f(x, y))), tf.add(tf.matMul(dx, y), tf.matMul(x, dy)));
    expectClose(got, wanted, { max: 1e-4 });
  });

  it('refuses integers', () => {
    expect(() => tensorDifference((x) => x!, [tf.scalar(1, 'int32')])).toThrow('tensorDifference: wanted float32 inputs, got int32');
  });
});
