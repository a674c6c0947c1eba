import { describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { traceGraph } from '../src/compiled-graph.ts';
import { tf } from '../src/tf.ts';
import { sample, useOrt, whole, type Argument, type Tensor } from './agree.ts';

/** ONNX Runtime rewrites compiled graphs further than evaluated ones: each kernel with a shape of its own is held against itself. */

const image = sample([2, 6, 7, 4], 1);
const volume = sample([1, 4, 5, 3, 2], 2);
const special: Argument = { shape: [1, 4, 4, 1], data: [NaN, NaN, 1, -Infinity, NaN, NaN, 2, 5, -Infinity, -Infinity, NaN, 3, -Infinity, -Infinity, 4, NaN] }; // prettier-ignore
const grad = (f: (x: Tensor) => Tensor) => (x: Tensor) => tf.grad((y: Tensor) => tf.sum(tf.square(f(y))))(x);

const cases: Record<string, { args: Argument[]; f: (...xs: Tensor[]) => Tensor }> = {
  'depthwise convolution': {
    args: [image, sample([3, 2, 4, 2], 3)],
    f: (x, w) => tf.depthwiseConv2d(x as never, w as never, 2, 'same'),
  },
  'gradient of depthwise convolution': {
    args: [image, sample([3, 2, 4, 2], 3)],
    f: (x, w) => tf.grad((v: Tensor) => tf.sum(tf.square(tf.depthwiseConv2d(x as never, v as never, 2, 'same') as Tensor)))(w),
  },
  '3-D convolution': { args: [volume, sample([2, 3, 2, 2, 3], 4)], f: (x, w) => tf.conv3d(x as never, w as never, 1, 'same') },
  'gradient of 3-D convolution': {
    args: [volume, sample([2, 3, 2, 2, 3], 4)],
    f: (x, w) => grad((y) => tf.conv3d(y as never, w as never, 2, 'valid'))(x),
  },
  'convolution with bias': {
    args: [image, sample([5, 4, 3, 3], 15), sample([5], 16)],
    f: (x, w, b) => tf.add(tf.conv2d(x as never, tf.transpose(w, [2, 3, 1, 0]) as never, 1, 'same') as Tensor, b),
  },
  'gradient of convolution': {
    args: [image, sample([5, 4, 3, 3], 15)],
    f: (x, w) =>
      tf.grad((v: Tensor) => tf.sum(tf.square(tf.conv2d(x as never, tf.transpose(v, [2, 3, 1, 0]) as never, 1, 'same') as Tensor)))(w),
  },
  'transpositions that keep axes side by side': {
    args: [sample([2, 3, 4, 5, 2], 17)],
    f: (x) => tf.concat([[3, 4, 0, 1, 2], [0, 3, 1, 2, 4], [1, 2, 0, 4, 3], [2, 0, 1, 3, 4]].map((perm) => tf.reshape(tf.transpose(tf.sin(x), perm), [-1]))), // prettier-ignore
  },
  'a row added to a product under another shape': {
    args: [sample([2, 3, 4], 18), sample([4, 5], 19), sample([1, 1, 5], 20), sample([3, 5], 21)],
    f: (x, w, row, rows) => {
      const product = tf.reshape(tf.matMul(tf.reshape(x, [6, 4]), w), [2, 3, 5]);
      const other = tf.reshape(tf.matMul(tf.reshape(x, [6, 4]), tf.neg(w)), [2, 3, 5]);
      return tf.concat([tf.add(product, row), tf.add(rows, other)]);
    },
  },
  'transposed convolution': {
    args: [image, sample([3, 3, 2, 4], 5)],
    f: (x, w) => tf.conv2dTranspose(x as never, w as never, [2, 12, 14, 2], 2, 'same'),
  },
  'max pool': { args: [image], f: (x) => tf.maxPool(x as never, 3, 2, 'same') },
  'max pool of special values': { args: [special], f: (x) => tf.maxPool(x as never, 2, 1, 'same') },
  'max pool with wide padding': { args: [image], f: (x) => tf.maxPool(x as never, 2, 1, 3) },
  'gradient of max pool': { args: [image], f: grad((y) => tf.maxPool(y as never, 3, 2, 'same')) },
  'gradient of 3-D max pool': { args: [volume], f: grad((y) => tf.maxPool3d(y as never, 2, 1, 'same')) },
  'max pool with argmax': { args: [image], f: (x) => tf.maxPoolWithArgmax(x as never, 2, 2, 'valid', true).indexes as Tensor },
  'mean pool': { args: [image], f: (x) => tf.avgPool(x as never, [3, 2], 2, 'same') },
  'mean pool with wide padding': { args: [volume], f: (x) => tf.avgPool3d(x as never, 2, 1, 2) },
  'gradient of mean pool': { args: [image], f: grad((y) => tf.avgPool(y as never, 3, 2, 'same')) },
  'bilinear resizing': { args: [image], f: (x) => tf.image.resizeBilinear(x as never, [9, 5], false, true) },
  'gradient of bilinear resizing': { args: [image], f: grad((y) => tf.image.resizeBilinear(y as never, [9, 5], true)) },
  'gradient of nearest resizing': { args: [image], f: grad((y) => tf.image.resizeNearestNeighbor(y as never, [12, 14])) },
  'batch normalization': {
    args: [image, sample([4], 6), sample([4], 7, (x) => 1 + Math.abs(x))],
    f: (x, mean, variance) => grad((y) => tf.batchNorm(y, mean as never, variance as never, mean as never, variance as never))(x),
  },
  'local response': { args: [image], f: grad((y) => tf.localResponseNormalization(y as never, 1)) },
  blocks: { args: [sample([2, 4, 6, 3], 8)], f: (x) => tf.sin(tf.spaceToBatchND(x, [2, 3], [[0, 0], [0, 0]])) }, // prettier-ignore
  'sums over rows': {
    args: [sample([3, 70, 5], 13), sample([3, 4, 5], 14)],
    f: (x, y) => {
      const sums = [tf.sum(tf.sin(x), 1), tf.sum(tf.sin(x), [0, 1]), tf.sum(tf.sin(y), 1), tf.sum(tf.sin(y), 0), tf.sum(tf.sin(y), [0, 2])];
      return tf.concat(sums.map((sum) => tf.reshape(sum, [-1])));
    },
  },
  einsum: { args: [sample([2, 3, 4], 9), sample([4, 2, 5], 10)], f: (x, y) => tf.einsum('bij,jbk->kib', x, y) },
  scatter: { args: [whole([3, 1], [2, 0, 2]), sample([3, 2], 11)], f: (i, u) => tf.scatterND(i as never, u, [4, 2]) },
  counts: { args: [whole([6], [0, 3, 3, 9, 1, 3])], f: (x) => tf.bincount(x as never, tf.tensor1d([]), 5) },
  'crop and resize': {
    args: [image, sample([3, 4], 12, Math.abs), whole([3], [0, 1, 1])],
    f: (x, boxes, owners) => tf.image.cropAndResize(x as never, boxes as never, owners as never, [3, 4]),
  },
  transform: {
    args: [image, { data: [0.8, -0.6, 2, 0.6, 0.8, -1, 0, 0], shape: [1, 8] }],
    f: (x, t) => tf.image.transform(x as never, t as never, 'bilinear', 'reflect'),
  },
  dilation: {
    args: [image, sample([2, 3, 4], 13)],
    f: (x, w) => tf.grad((v: Tensor) => tf.sum(tf.square(tf.dilation2d(x as never, v as never, 1, 'same') as Tensor)))(w),
  },
  'Fourier transform': { args: [sample([3, 96], 14)], f: (x) => tf.abs(tf.spectral.rfft(x)) },
};

describe('a compiled kernel', () => {
  for (const [name, { args, f }] of Object.entries(cases)) {
    it(`gives what the evaluated one gives: ${name}`, async () => {
      await useOrt();
      const signature = args.map(({ shape, dtype }) => ({ shape, dtype: dtype ?? 'float32' }));
      const graph = traceGraph(tf.backend() as OrtBackend, signature, (xs) => [f(...xs)], name);
      tf.tidy(() => {
        const xs = args.map(({ data, shape, dtype }) => tf.tensor(data, shape, dtype ?? 'float32'));
        const wanted = f(...xs);
        const [got] = graph.run(xs, xs.map(() => false)); // prettier-ignore
        expect(got!.shape).toEqual(wanted.shape);
        expect(got!.dtype).toBe(wanted.dtype);
        const [a, b] = [wanted.dataSync(), got!.dataSync()];
        a.forEach((value, i) => (Number.isFinite(value) ? expect(b[i]).toBeCloseTo(value, 4) : expect(b[i]).toBe(value)));
      });
      graph.dispose();
    });
  }
});

describe('a compiled graph', () => {
  const operatorsOf = async (shapes: readonly number[][], f: (...xs: Tensor[]) => Tensor): Promise<string> => {
    await useOrt();
    const signature = shapes.map((shape) => ({ shape, dtype: 'float32' as const }));
    const graph = traceGraph(tf.backend() as OrtBackend, signature, (xs) => [f(...xs)], 'operators');
    const inputs = shapes.map((_, i) => `x${i}`);
    const bytes = Buffer.from(graph.onnx(inputs, ['y'])).toString('latin1');
    graph.dispose();
    return bytes;
  };

  it('adds a row to a product under another shape inside the product', async () => {
    const shapes = [
      [6, 4],
      [4, 5],
      [1, 1, 5],
    ];
    const operators = await operatorsOf(shapes, (x, w, row) => tf.add(tf.reshape(tf.matMul(x!, w!), [2, 3, 5]), row!));
    expect(operators).toContain('Gemm');
    expect(operators).not.toContain('Add');
  });

  it('joins axes that a transposition keeps side by side', async () => {
    const turned = (perm: number[]) => (x: Tensor) => tf.transpose(x, perm);
    // With joined axes the result is reshaped back.
    expect(await operatorsOf([[2, 3, 4, 5, 2]], turned([3, 4, 0, 1, 2]))).toContain('Reshape');
    expect(await operatorsOf([[2, 3, 4, 5, 2]], turned([4, 2, 0, 3, 1]))).not.toContain('Reshape');
  });
});
