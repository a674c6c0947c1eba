import { tf } from '../src/tf.ts';
import type { Argument, Tensor } from './evaluate.ts';
import { between } from './floats.ts';
import { ofCpu, type Reference } from './references.ts';
import { positive, signed, type Summing } from './sums.ts';

/** Pools, resizing, normalization and softmax. `cpu` computes most of these in float64 and rounds the result once. */

const any = (x: unknown): never => x as never;
const run = (name: string, inputs: Record<string, Tensor>, attributes: object, at = 0): Tensor => {
  const result = tf.engine().runKernel(name, inputs, attributes as never) as Tensor | Tensor[];
  return Array.isArray(result) ? result[at]! : result;
};

const likeCpu = (kernel: string, about: string, f: Summing['f'], args: Argument[], bound: number): Summing => ({
  kernel,
  about,
  f,
  args,
  reference: (...data) => ofCpu(f, args.map(({ shape }, i) => ({ shape, data: data[i]! }))), // prettier-ignore
  bound,
});

const image = positive([2, 12, 11, 3]);
const volume = positive([1, 6, 5, 7, 2]);
const pool = (size: number, strides: number, pad: 'same' | 'valid') => ({ filterSize: size, strides, pad });

const pools: Summing[] = [
  likeCpu('AvgPool', '3 × 3, same', (x) => tf.avgPool(any(x), 3, 2, 'same'), [image], 1),
  likeCpu('AvgPool', '7 × 7, same', (x) => tf.avgPool(any(x), 7, 1, 'same'), [image], 2),
  likeCpu('AvgPool', 'the whole image', (x) => tf.avgPool(any(x), [12, 11], 1, 'valid'), [image], 1),
  likeCpu('AvgPool3D', '2 × 2 × 2', (x) => tf.avgPool3d(any(x), 2, 1, 'valid'), [volume], 1),
  likeCpu('AvgPoolGrad', '3 × 3, same', (dy) => run('AvgPoolGrad', { dy, input: dy }, pool(3, 1, 'same')), [image], 1),
  likeCpu('AvgPool3DGrad', '2 × 2 × 2, same', (dy) => run('AvgPool3DGrad', { dy, input: dy }, pool(2, 1, 'same')), [volume], 1),
  likeCpu('MaxPool', '3 × 3, same', (x) => tf.maxPool(any(x), 3, 2, 'same'), [image], 0),
  likeCpu('MaxPool3D', '2 × 2 × 2', (x) => tf.maxPool3d(any(x), 2, 1, 'valid'), [volume], 0),
  likeCpu(
    'MaxPoolGrad',
    '3 × 3, same',
    (dy, x) => run('MaxPoolGrad', { dy, input: x, output: x }, pool(3, 1, 'same')),
    [image, signed([2, 12, 11, 3], 2)],
    4,
  ),
  likeCpu(
    'MaxPool3DGrad',
    '2 × 2 × 2, same',
    (dy, x) => run('MaxPool3DGrad', { dy, input: x, output: x }, pool(2, 1, 'same')),
    [volume, signed([1, 6, 5, 7, 2], 2)],
    4,
  ),
  likeCpu('Dilation2D', '2 × 2', (x, w) => tf.dilation2d(any(x), any(w), 1, 'same') as Tensor, [image, signed([2, 2, 3], 3)], 0.5),
];

const pixels: Summing[] = [
  likeCpu('ResizeBilinear', '12 × 11 to 23 × 7', (x) => tf.image.resizeBilinear(any(x), [23, 7]), [image], 4),
  likeCpu('ResizeBilinear', 'half pixels', (x) => tf.image.resizeBilinear(any(x), [23, 7], false, true), [image], 4),
  likeCpu('ResizeBilinear', 'aligned corners', (x) => tf.image.resizeBilinear(any(x), [23, 7], true), [image], 4),
  likeCpu(
    'ResizeBilinearGrad',
    '23 × 7 to 12 × 11',
    (dy, x) => run('ResizeBilinearGrad', { dy, images: x }, { alignCorners: true }),
    [positive([2, 23, 7, 3]), positive([2, 12, 12, 3])],
    8,
  ),
  likeCpu('CropAndResize', '2 boxes', (x) => tf.image.cropAndResize(any(x), tf.tensor2d([[0.1, 0, 0.8, 1], [0, 0.2, 1.2, 0.9]]), tf.tensor1d([0, 1], 'int32'), [5, 6]), [image], 4), // prettier-ignore
  likeCpu('Transform', 'bilinear', (x) => tf.image.transform(any(x), tf.tensor2d([[0.9, 0.1, 1, -0.1, 1.1, 0.5, 0.001, 0.002]]), 'bilinear'), [positive([1, 12, 11, 3])], 16), // prettier-ignore
];

const dense = positive([4, 3, 5, 6]);
const norms: Summing[] = [
  likeCpu(
    'FusedBatchNorm',
    '6 channels',
    (x, mean, variance, offset, scale) => tf.batchNorm(x, any(mean), any(variance), any(offset), any(scale), 0.01),
    [dense, ...[1, 2, 3, 4].map((seed) => positive([6], seed))],
    4,
  ),
  likeCpu('LRN', 'radius 2', (x) => tf.localResponseNormalization(any(x), 2, 1, 0.3, 0.6), [dense], 2),
  likeCpu(
    'LRNGrad',
    'radius 2',
    (x, dy) =>
      run(
        'LRNGrad',
        { x, y: tf.localResponseNormalization(any(x), 2, 1, 0.3, 0.6), dy },
        { depthRadius: 2, bias: 1, alpha: 0.3, beta: 0.6 },
      ),
    [dense, positive([4, 3, 5, 6], 2)],
    4,
  ),
  ...['Standardize', 'LayerNorm'].map((kernel): Summing => {
    const rows = signed([7, 300]);
    const inputs = (x: Tensor): Record<string, Tensor> =>
      kernel === 'LayerNorm' ? { x, weight: tf.ones([300]), bias: tf.zeros([300]) } : { x };
    return {
      kernel,
      about: 'rows of 300',
      f: (x) => run(kernel, inputs(x), { eps: 1e-5 }),
      args: [rows],
      reference: (x) => standardized(x, 300),
      bound: 4,
    };
  }),
];

function standardized(x: Float32Array, width: number): Reference {
  const exact = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += width) {
    const row = Array.from(x.subarray(at, at + width));
    const mean = row.reduce((a, b) => a + b) / width;
    const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / width;
    row.forEach((v, i) => (exact[at + i] = (v - mean) / Math.sqrt(variance + Math.fround(1e-5))));
  }
  return { exact, scale: exact.map((v) => Math.max(1, Math.abs(v))) };
}

/** The unit of softmax is that of the result, of its logarithm that of the distance to the largest logit. */
function softmaxOf(x: Float32Array, width: number, log: boolean): Reference {
  const [exact, scale] = [new Float64Array(x.length), new Float64Array(x.length)];
  for (let at = 0; at < x.length; at += width) {
    const row = x.subarray(at, at + width);
    const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const sum = row.reduce((total, v) => total + Math.exp(v - most), 0);
    row.forEach((v, i) => {
      exact[at + i] = log ? v - most - Math.log(sum) : Math.exp(v - most) / sum;
      scale[at + i] = log ? Math.max(1, Math.abs(exact[at + i]!)) : exact[at + i]!;
    });
  }
  return { exact, scale };
}

const softmaxes: Summing[] = [
  [10, 1],
  [10, 20],
  [1000, 20],
  [40_000, 20],
].flatMap(([width, most]): Summing[] => {
  const logits: Argument = { data: between(-most!, most!, 2 * width!), shape: [2, width!] };
  const about = `rows of ${width!.toLocaleString('en')}, logits to ±${most}`;
  const far =
    'the distance to the largest logit is rounded to float32: up to 32 ulp of the result at a distance of 40; exactness needs float64';
  return [
    {
      kernel: 'Softmax',
      about,
      f: (x) => tf.softmax(x),
      args: [logits],
      reference: (x) => softmaxOf(x, width!, false),
      bound: most === 1 ? 4 : 40,
      ...(most! > 1 && { reason: far }),
    },
    {
      kernel: 'LogSoftmax',
      about,
      f: (x) => run('LogSoftmax', { logits: x }, { axis: -1 }),
      args: [logits],
      reference: (x) => softmaxOf(x, width!, true),
      bound: 2,
    },
  ];
});

const steps: Summing[] = [
  {
    kernel: 'LinSpace',
    about: '0 to 1 in 100,000 steps',
    f: (x) => tf.add(tf.linspace(0, 1, 100_001), tf.mul(x, 0)),
    args: [positive([1])],
    reference: () => stepped(100_001, 1e-5),
    bound: 1,
  },
  {
    kernel: 'Range',
    about: '100,000 steps of 0.1',
    f: (x) => tf.add(tf.range(0, 10_000.05, 0.1), tf.mul(x, 0)),
    args: [positive([1])],
    reference: () => stepped(100_001, 0.1),
    bound: 1,
  },
];

function stepped(count: number, step: number): Reference {
  const exact = Float64Array.from({ length: count }, (_, i) => i * step);
  return { exact, scale: exact };
}

export const windows: readonly Summing[] = [...pools, ...pixels, ...norms, ...softmaxes, ...steps];
