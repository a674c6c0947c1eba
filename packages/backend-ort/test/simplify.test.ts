import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { tf } from '../src/tf.ts';
import { useOrt, type Tensor } from './agree.ts';

/** Operations that the graph leaves out because they change nothing: chains of them give what TensorFlow.js's `cpu` engine gives. */

beforeEach(useOrt);

type Dtype = 'float32' | 'int32' | 'bool';
interface Start {
  kind: 'data' | 'fill' | 'tile' | 'broadcast';
  shape: number[];
  dtype: Dtype;
  value: number;
}
interface Link {
  kind: string;
  pick: number;
  value: number;
}

const shapes = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 0, maxLength: 4 });
const values = fc.constantFrom(0, -0, 1, 2, -1, 0.5, 5);
const starts: fc.Arbitrary<Start> = fc.record({
  kind: fc.constantFrom('data', 'fill', 'tile', 'broadcast' as const),
  shape: shapes,
  dtype: fc.constantFrom('float32', 'int32', 'bool' as const),
  value: values,
});
const kinds = ['reshape', 'transpose', 'slice', 'strides', 'cast', 'concat', 'split', 'add', 'sub', 'mul', 'div', 'pow', 'sum', 'max', 'expand', 'self'] as const; // prettier-ignore
const links = fc.array(fc.record({ kind: fc.constantFrom(...kinds), pick: fc.nat(1000), value: values }), { minLength: 1, maxLength: 5 });

function begin({ kind, shape, dtype, value }: Start): Tensor {
  const of = (v: number): number => (dtype === 'float32' ? v : dtype === 'bool' ? Number(v > 0) : Math.trunc(v));
  const size = shape.reduce((a, b) => a * b, 1);
  if (kind === 'fill') return tf.fill(shape, of(value), dtype as 'float32');
  const ones = shape.map(() => 1);
  const one = tf.tensor([of(value)], ones, dtype);
  if (kind === 'tile' && shape.length > 0) return tf.tile(one, shape);
  if (kind === 'broadcast') return tf.broadcastTo(one, shape);
  const cycle = [0, -0, 1, -2, 0.5, 3];
  const data = Array.from({ length: size }, (_, i) => of(cycle[i % 6]!));
  return tf.tensor(data, shape, dtype);
}

/** A permutation that depends on `pick`. */
function permutation(rank: number, pick: number): number[] {
  const rest = Array.from({ length: rank }, (_, i) => i);
  return Array.from({ length: rank }, (_, i) => rest.splice((pick + 7 * i) % rest.length, 1)[0]!);
}

function follow(x: Tensor, { kind, pick, value }: Link): Tensor {
  const rank = x.shape.length;
  const axis = rank === 0 ? 0 : pick % rank;
  const [by, type] = x.dtype === 'int32' ? [Math.trunc(value), 'int32' as const] : [value, 'float32' as const];
  const operand = (): Tensor => (pick % 3 === 0 ? tf.fill(x.shape, by, type) : tf.scalar(by, type));
  const number = (): Tensor => (x.dtype === 'bool' ? tf.cast(x, 'float32') : x);
  const cut = (from: number, size: number): Tensor =>
    tf.slice(
      x,
      x.shape.map((_, i) => (i === axis ? from : 0)),
      x.shape.map((s, i) => (i === axis ? size : s)),
    );
  switch (kind) {
    case 'reshape':
      return tf.reshape(x, [[x.size], [1, x.size], [x.size, 1, 1], [...x.shape, 1], [1, ...x.shape]][pick % 5]!);
    case 'transpose':
      return tf.transpose(x, permutation(rank, pick));
    case 'slice':
      return rank === 0 ? x : cut(pick % x.shape[axis]!, 1);
    case 'strides':
      if (rank === 0) return x;
      return tf.stridedSlice(x, x.shape.map(() => 0), x.shape, x.shape.map((_, i) => (i === axis ? 2 : 1))); // prettier-ignore
    case 'cast':
      return tf.cast(x, (['float32', 'int32', 'bool'] as const)[pick % 3]!);
    case 'concat':
      if (rank === 0) return x;
      return pick % 2 === 0 ? tf.concat([x, x], axis) : tf.concat(Array.from({ length: x.shape[axis]! }, (_, i) => cut(i, 1)), axis); // prettier-ignore
    case 'split':
      if (rank === 0) return x;
      return tf.concat(tf.split(x, x.shape[axis]!, axis).reverse(), axis);
    case 'add':
      return pick % 2 === 0 ? tf.add(number(), operand()) : tf.add(operand(), number());
    case 'sub':
      return tf.sub(number(), operand());
    case 'mul':
      return pick % 2 === 0 ? tf.mul(number(), operand()) : tf.mul(operand(), number());
    case 'div':
      return tf.div(tf.cast(x, 'float32'), tf.scalar(value === 0 ? 1 : value));
    case 'pow':
      return tf.pow(tf.cast(x, 'float32'), tf.scalar(Math.max(1, Math.trunc(value))));
    case 'sum':
      return rank === 0 ? x : tf.sum(x, axis, pick % 2 === 0);
    case 'max':
      return rank === 0 ? x : tf.max(number(), axis, pick % 2 === 0);
    case 'expand':
      return tf.broadcastTo(x, [2, ...x.shape]);
    default:
      return tf.add(number(), number());
  }
}

type Read = { values: number[]; shape: number[]; dtype: string };
const read = (x: Tensor): Read => ({ values: Array.from(x.dataSync()), shape: x.shape, dtype: x.dtype });
const chain = (start: () => Tensor, list: readonly Link[]): Tensor => list.reduce(follow, start());

describe('a chain of operations that may change nothing', () => {
  it('gives what cpu gives, evaluated and compiled', async () => {
    await fc.assert(
      fc.asyncProperty(starts, links, async (start, list) => {
        await tf.setBackend('cpu');
        const wanted = tf.tidy(() => read(chain(() => begin(start), list)));
        await tf.setBackend('ort');
        const got = tf.tidy(() => read(chain(() => begin(start), list)));
        const graph = traceGraph(tf.backend() as OrtBackend, [], () => [chain(() => begin(start), list)], 'chain');
        const compiled = tf.tidy(() => read(graph.run([], [])[0]!));
        graph.dispose();
        for (const have of [got, compiled]) {
          expect(have.shape).toEqual(wanted.shape);
          expect(have.dtype).toBe(wanted.dtype);
          have.values.forEach((value, i) => expect(Math.abs(value - wanted.values[i]!) <= 1e-5 * Math.abs(wanted.values[i]!) || Object.is(value, wanted.values[i])).toBe(true)); // prettier-ignore
        }
      }),
      { numRuns: 300, seed: 20250520 },
    );
  });
});

describe('zero', () => {
  const signs: Record<string, { f: (x: Tensor) => Tensor; wanted: number }> = {
    '-0 + 0': { f: (x) => tf.add(x, tf.zeros([2])), wanted: 0 },
    '0 + -0': { f: (x) => tf.add(tf.zeros([2]), x), wanted: 0 },
    '-0 + -0': { f: (x) => tf.add(x, tf.fill([2], -0)), wanted: -0 },
    '-0 - 0': { f: (x) => tf.sub(x, tf.zeros([2])), wanted: -0 },
    '-0 - -0': { f: (x) => tf.sub(x, tf.fill([2], -0)), wanted: 0 },
    '-0 * 1': { f: (x) => tf.mul(x, tf.ones([2])), wanted: -0 },
    '-0 / 1': { f: (x) => tf.div(x, tf.ones([2])), wanted: -0 },
    '-0 ^ 1': { f: (x) => tf.pow(x, tf.ones([2])), wanted: -0 },
    'a sum of -0 and zeros': { f: (x) => tf.addN([x, tf.zerosLike(x)]), wanted: 0 },
  };
  for (const [name, { f, wanted }] of Object.entries(signs)) {
    it(`has the sign that IEEE 754 gives it: ${name}`, () => {
      const x = tf.tensor1d([-0, -0]);
      const graph = traceGraph(tf.backend() as OrtBackend, [{ shape: [2], dtype: 'float32' }], ([v]) => [f(v!)], 'sign');
      expect(Array.from(f(x).dataSync())).toEqual([wanted, wanted]);
      expect(Array.from(graph.run([x], [false])[0]!.dataSync())).toEqual([wanted, wanted]);
      graph.dispose();
    });
  }
});
