import { describe, expect, it } from 'vitest';
import { tf } from '../src/tf.ts';
import type { Tensor } from './agree.ts';
import { compare, DTYPES, type Case, type DType, type Operand } from './sweep.ts';

/** Kernels that move, pick, fold and scatter elements, on every dtype, evaluated and compiled: values and dtype of the result as on `cpu`. */

const whole = (values: number[], shape?: number[]): Tensor => tf.tensor(values, shape ?? [values.length], 'int32');
const lists = (f: (x: Tensor) => Tensor[]) => (x: Tensor) => tf.concat(f(x).map((y) => tf.reshape(y, [-1])));
const runKernel = (name: string, inputs: object, attributes: object = {}): Tensor =>
  tf.engine().runKernel(name, inputs as never, attributes as never) as Tensor;

const one: Record<string, Case['f']> = {
  transpose: (x) => tf.transpose(x),
  reverse: (x) => tf.reverse(x, 1),
  'reverse, every axis': (x) => tf.reverse(x),
  tile: (x) => tf.tile(x, [2, 3]),
  broadcastTo: (x) => tf.broadcastTo(tf.reshape(x, [1, 4, 3]), [2, 4, 3]),
  slice: (x) => tf.slice(x, [1, 0], [2, 2]),
  stridedSlice: (x) => tf.stridedSlice(x, [3, 0], [0, 3], [-2, 2]),
  pad: (x) => tf.pad(x, [[1, 0], [0, 2]], 1), // prettier-ignore
  mirrorPad: (x) => tf.mirrorPad(x, [[1, 0], [0, 2]], 'reflect'), // prettier-ignore
  concat: (x) => tf.concat([x, x], 1),
  stack: (x) => tf.stack([x, x], 1),
  unstack: lists((x) => tf.unstack(x)),
  split: lists((x) => tf.split(x, 3, 1)),
  gather: (x) => tf.gather(x, whole([3, 0, 0]), 0),
  'gather in batches': (x) => tf.gather(x, whole([2, 0, 1, 1], [4, 1]), 1, 1),
  gatherND: (x) => tf.gatherND(x, whole([3, 2, 0, 1], [2, 2])),
  scatterND: (x) => tf.scatterND(whole([5, 1, 5, 0], [4, 1]), x, [6, 3]),
  tensorScatterUpdate: (x) => tf.tensorScatterUpdate(x, whole([2, 0], [2, 1]), tf.reverse(tf.slice(x, [1, 0], [2, 3]))),
  sparseToDense: (x) =>
    tf.sparseToDense(whole([3, 1]), tf.slice(tf.reshape(x, [12]), 0, 2), [5], tf.slice(tf.reshape(x, [12]), 11, 1).reshape([])),
  // On whole numbers `cpu` gives floats; ours stay whole.
  unsortedSegmentSum: (x) => tf.cast(tf.unsortedSegmentSum(x, whole([1, 0, 1, 4]) as never, 3), 'float32'),
  where: (x) => tf.where(tf.tensor2d([1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0], [4, 3], 'bool'), x, tf.reverse(x)),
  'where, whole rows': (x) => tf.where(tf.tensor1d([1, 0, 1, 0], 'bool'), x, x),
  diag: (x) => tf.diag(tf.reshape(x, [12])),
  topk: (x) => {
    const { values: largest, indices } = tf.topk(x, 2);
    return tf.concat([largest, tf.cast(indices, x.dtype)]);
  },
  argMax: (x) => tf.argMax(x, 1),
  argMin: (x) => tf.argMin(x, 0),
  max: (x) => tf.max(x, 1),
  min: (x) => tf.min(x, 0),
  'max of all': (x) => tf.max(x),
  sum: (x) => tf.sum(x, 1),
  mean: (x) => tf.mean(x, 1),
  prod: (x) => tf.prod(x, 1),
  cumsum: (x) => tf.cumsum(x, 0),
  cumprod: (x) => tf.cumprod(x, 1, true),
  'cumsum of a scalar': (x) => tf.cumsum(tf.reshape(tf.slice(x, [1, 1], [1, 1]), [])),
  'cumprod of a scalar': (x) => tf.cumprod(tf.reshape(tf.slice(x, [1, 1], [1, 1]), [])),
  onesLike: (x) => tf.onesLike(x),
  batchNorm: (x) => runKernel('FusedBatchNorm', { x, mean: tf.tensor1d([1, 2, 0]), variance: tf.tensor1d([1, 4, 0.25]), offset: null, scale: null }, { varianceEpsilon: 0 }), // prettier-ignore
  'sum of nothing': (x) => tf.sum(tf.slice(x, [0, 0], [0, 3]), 0),
  avgPool: (x) => runKernel('AvgPool', { x: tf.reshape(x, [1, 4, 3, 1]) }, { filterSize: 2, strides: 1, pad: 'valid' }),
  maxPool: (x) => runKernel('MaxPool', { x: tf.reshape(x, [1, 4, 3, 1]) }, { filterSize: 2, strides: 1, pad: 'valid' }),
  depthToSpace: (x) => runKernel('DepthToSpace', { x: tf.reshape(x, [1, 3, 1, 4]) }, { blockSize: 2, dataFormat: 'NHWC' }),
  spaceToBatch: (x) => tf.spaceToBatchND(x, [2], [[0, 0]]),
  batchToSpace: (x) => tf.batchToSpaceND(x, [2], [[0, 0]]),
  matMul: (x) => tf.matMul(x, x, false, true),
};

const values: Record<DType, number[]> = {
  float32: [3.5, -1, 0, 16777216, 2, -7.25, 2, 2, 1, -0.5, 9, 4],
  int32: [3, -1, 0, 16777216, 16777217, -7, 2, 2, 1, -2147483648, 9, 2147483647],
  bool: [1, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0, 1],
};
const small: Operand['values'] = [3, -1, 0, 16, 17, -7, 2, 2, 1, -21, 9, 21];
/** These go through floats on `cpu`, or beyond 53 bits. */
const smallOnly = new Set([
  'prod',
  'cumprod',
  'mean',
  'batchNorm',
  'avgPool',
  'matMul',
  'unsortedSegmentSum',
  'scatterND',
  'cumsum',
  'depthToSpace',
  'sum',
]);

describe('a kernel on elements of every dtype', () => {
  for (const [name, f] of Object.entries(one)) {
    it(`${name} gives what cpu gives`, async () => {
      const faults: string[] = [];
      for (const dtype of DTYPES) {
        const operand = { values: dtype === 'int32' && smallOnly.has(name) ? small : values[dtype], dtype, shape: [4, 3] };
        faults.push(...(await compare(name, { f }, [operand])));
      }
      expect(faults).toEqual([]);
    });
  }
});
