import { beforeEach, describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { tf } from '../src/tf.ts';
import { traceScan } from '../src/scan.ts';
import { useOrt, type Tensor } from './agree.ts';

/** Factors beside products and sums whose move would leave the range of float32: compiled and evaluated graphs give the same. */

const row = (...values: number[]): Tensor => tf.tensor2d([values]);
const column = (...values: number[]): Tensor => tf.tensor2d(values, [values.length, 1]);
const cases: Record<string, { f: (...xs: Tensor[]) => Tensor; args: () => Tensor[]; wanted: number }> = {
  'a small factor of the left operand': {
    f: (x, y) => tf.matMul(tf.mul(x, 1e-30), y),
    args: () => [row(1e30, 1e30), column(1e10, 1e10)],
    wanted: 2e10,
  },
  'a small factor of the right operand': {
    f: (x, y) => tf.matMul(x, tf.mul(1e-30, y)),
    args: () => [row(1e30, 1e30), column(1e10, 1e10)],
    wanted: 2e10,
  },
  'a large factor of an operand': {
    f: (x, y) => tf.matMul(tf.mul(x, 1e30), y),
    args: () => [row(1e-30, 1e-30), column(1e-20, 1e-20)],
    wanted: 2e-20,
  },
  'two factors that are small together': {
    f: (x, y) => tf.matMul(tf.mul(x, 1e-5), tf.mul(y, 1e-5)),
    args: () => [row(1e20, 1e20), column(1e20, 1e20)],
    wanted: 2e30,
  },
  'a factor behind a reshape': {
    f: (x, y) => tf.matMul(tf.reshape(tf.mul(x, 1e-30), [1, 2]), y),
    args: () => [tf.tensor1d([1e30, 1e30]), column(1e10, 1e10)],
    wanted: 2e10,
  },
  'a chain of factors': {
    f: (x, y) => tf.matMul(tf.mul(tf.mul(x, 1e-20), 1e-20), y),
    args: () => [row(1e30, 1e30), column(1e30, 1e30)],
    wanted: 2e20,
  },
  'factors of an operand and of the product': {
    f: (x, y) => tf.mul(tf.mul(tf.matMul(tf.mul(x, 1e-30), y), 1e-5), 1e-5),
    args: () => [row(1e30, 1e30), column(1e30, 1e30)],
    wanted: 2e20,
  },
  'a factor of the negated product': {
    f: (x, y) => tf.mul(tf.neg(tf.matMul(tf.mul(x, 1e-30), y)), 1e-5),
    args: () => [row(1e30, 1e30), column(1e30, 1e30)],
    wanted: -2e25,
  },
  'a large factor of a product that nearly vanishes': {
    f: (x, y) => tf.mul(tf.mul(tf.matMul(x, y), 1e30), 1e-30),
    args: () => [row(1e10, 1e10), column(1e15, 1e15)],
    wanted: Infinity,
  },
  'a small factor of a sum': { f: (x) => tf.sum(tf.mul(x, 1e-3)), args: () => [row(3e38, 3e38)], wanted: 6e35 },
  'a small factor of a sum over rows': { f: (x) => tf.sum(tf.mul(x, 1e-3), 0), args: () => [column(3e38, 3e38)], wanted: 6e35 },
  'a tiny factor of a sum': { f: (x) => tf.sum(tf.mul(x, 1e-30)), args: () => [row(3e38, 3e38)], wanted: 6e8 },
  'a large factor of a sum': { f: (x) => tf.sum(tf.mul(x, 1e3)), args: () => [row(3e-38, 3e-38)], wanted: 6e-35 },
  'a factor of zero': { f: (x, y) => tf.matMul(tf.mul(x, 0), y), args: () => [row(Infinity, 1), column(1, 1)], wanted: NaN },
};

beforeEach(useOrt);

describe('a factor beside a product or a sum', () => {
  for (const [name, { f, args, wanted }] of Object.entries(cases)) {
    it(`does not change the range: ${name}`, () => {
      const xs = args();
      const signature = xs.map(({ shape, dtype }) => ({ shape, dtype }));
      const graph = traceGraph(tf.backend() as OrtBackend, signature, (inputs) => [f(...inputs)], 'factor');
      const [first, ...others] = xs as [Tensor, ...Tensor[]];
      const results = {
        eager: f(...xs),
        compiled: graph.run(xs, xs.map(() => false))[0]!, // prettier-ignore
        repeated: tf.tidy(
          () =>
            traceScan(tf.backend() as OrtBackend, [tf.scalar(0)], [tf.expandDims(first)], ([carry], [slice]) => ({
              carry: [carry!],
              collected: [f(slice!, ...others)],
            })).collected[0]!,
        ),
      };
      for (const result of Object.values(results)) {
        const got = result.dataSync()[0]!;
        if (Number.isFinite(wanted)) expect(got / wanted).toBeCloseTo(1, 4);
        else expect(got).toBe(wanted);
      }
      graph.dispose();
    });
  }

  it('still moves where it is near 1: one product and nothing else', () => {
    const signature = [
      { shape: [3, 4], dtype: 'float32' },
      { shape: [4, 5], dtype: 'float32' },
    ];
    const graph = traceGraph(
      tf.backend() as OrtBackend,
      signature,
      ([x, y]) => [tf.mul(tf.matMul(tf.mul(x!, 0.125), y!), 3)],
      'scaledProduct',
    );
    const model = Buffer.from(graph.onnx(['x', 'y'], ['z'])).toString('latin1');
    expect(model).toContain('FusedMatMul');
    expect(model).not.toMatch(/\x03Mul/);
    graph.dispose();
  });
});
