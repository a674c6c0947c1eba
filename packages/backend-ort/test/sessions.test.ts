import { beforeEach, describe, expect, it } from 'vitest';
import type { OrtBackend } from '../src/backend.ts';
import { hostReasons } from '../src/kernels/host.ts';
import { kernels } from '../src/register.ts';
import { traceScan } from '../src/scan.ts';
import { tf } from '../src/tf.ts';
import { sample, useOrt, type Tensor } from './agree.ts';

/** A session belongs to a structure: graphs of equal structure share it, for any numbers that they hold. */

const backend = (): OrtBackend => tf.backend() as OrtBackend;
const t = (shape: number[], seed = 1): Tensor => tf.tensor(sample(shape, seed).data, shape);
const whole = (values: number[]): Tensor => tf.tensor1d(values, 'int32');
const truth = (): Tensor => tf.tensor1d([1, 0, 1], 'bool');
const dx = (f: (x: Tensor) => Tensor, x: Tensor): Tensor => tf.grad((v: Tensor) => tf.sum(tf.square(f(v))))(x);
const kernel = (name: string, inputs: Record<string, Tensor>, attributes: Record<string, unknown> = {}): Tensor | Tensor[] =>
  tf.engine().runKernel(name, inputs as never, attributes as never) as unknown as Tensor | Tensor[];

beforeEach(useOrt);

const image = (): Tensor => t([1, 12, 14, 3]);
const volume = (): Tensor => t([1, 4, 5, 6, 2]);
const any = (x: unknown) => x as never;
const unary = (name: string) => () => kernel(name, { x: t([9]) });
const binary = (name: string) => () => kernel(name, { a: t([9]), b: t([9], 2) });
const integers = (name: string) => () => kernel(name, { a: whole([1, 5, -3]), b: whole([2, 3, 4]) });
const booleans = (name: string) => () => kernel(name, { a: truth(), b: truth() });
const unaryNames =
  'Abs Neg Sign Acos Acosh Asin Asinh Atan Atanh Cos Cosh Erf Exp Log Reciprocal Sigmoid Sin Sinh Sqrt Tan Tanh Softplus Ceil Floor Round Relu Relu6 Elu Selu Rsqrt Square Expm1 Log1p IsNan IsInf IsFinite GeluErf GeluTanh FastSigmoid ZerosLike OnesLike Identity';
const binaryNames =
  'Add Sub Multiply RealDiv FloorDiv Mod Atan2 Pow Maximum Minimum SquaredDifference Equal NotEqual Greater GreaterEqual Less LessEqual';
const each = (names: string, of: (name: string) => () => Tensor | Tensor[]) => Object.fromEntries(names.split(' ').map((n) => [n, of(n)]));

/** A small call of each kernel that makes a graph; tables and index lists in it are longer than 64 elements where a kernel has any. */
const calls: Record<string, () => Tensor | Tensor[]> = {
  ...each(unaryNames, unary),
  ...each(binaryNames, binary),
  ...each('LogicalAnd LogicalOr LogicalXor', booleans),
  LogicalNot: () => tf.logicalNot(truth()),
  BitwiseAnd: integers('BitwiseAnd'),
  LeakyRelu: () => tf.leakyRelu(t([9]), 0.3),
  Prelu: () => tf.prelu(t([9]), tf.scalar(0.2)),
  Step: () => tf.step(t([9]), 0.5),
  EluGrad: () => dx(tf.elu, t([9])),
  ClipByValue: () => tf.clipByValue(t([9]), -0.5, 0.5),
  Cast: () => tf.cast(t([9]), 'int32'),
  AddN: () => tf.addN([t([9]), t([9], 2), t([9], 3)]),
  ...each('Sum Mean Max Min Prod', (name) => () => kernel(name, { x: t([80, 3]) }, { axis: [0], keepDims: false })),
  ...each('All Any', (name) => () => kernel(name, { x: truth() }, { axis: [0], keepDims: false })),
  ...each('ArgMax ArgMin', (name) => () => kernel(name, { x: t([80]) }, { axis: 0 })),
  Cumsum: () => tf.cumsum(t([80]), 0),
  Cumprod: () => tf.cumprod(t([80]), 0),
  Softmax: () => tf.softmax(t([80])),
  LogSoftmax: () => tf.logSoftmax(t([80])),
  Reshape: () => tf.sin(tf.reshape(t([80]), [8, 10])),
  ExpandDims: () => tf.sin(tf.expandDims(t([80]))),
  Transpose: () => tf.transpose(t([8, 10])),
  BroadcastTo: () => tf.broadcastTo(t([10]), [8, 10]),
  Concat: () => tf.concat([t([40]), t([40], 2)]),
  Pack: () => tf.stack([t([40]), t([40], 2)]),
  Unpack: () => tf.unstack(t([3, 40])),
  SplitV: () => tf.split(t([9]), [2, 3, 4]),
  Slice: () => tf.slice(t([90]), [3], [70]),
  StridedSlice: () => tf.stridedSlice(t([90]), [3], [80], [2]),
  PadV2: () => tf.pad(t([80]), [[2, 3]], 7),
  MirrorPad: () => tf.mirrorPad(t([90]), [[3, 4]], 'reflect'),
  Tile: () => tf.tile(t([9]), [9]),
  Reverse: () => tf.reverse(t([80])),
  Diag: () => tf.diag(t([80])),
  GatherV2: () => tf.gather(t([80]), whole(Array.from({ length: 70 }, (_, i) => i))),
  GatherNd: () => tf.gatherND(t([8, 9]), any(tf.tensor2d([[1, 2], [3, 4]], [2, 2], 'int32'))), // prettier-ignore
  OneHot: () => tf.oneHot(any(whole([1, 80])), 100),
  Select: () => tf.where(truth(), t([3]), t([3], 2)),
  TopK: () => tf.topk(t([80]), 70).values,
  Fill: () => tf.sin(tf.fill([80], 0.3)),
  Range: () => tf.sin(tf.range(0, 80)),
  LinSpace: () => tf.sin(tf.linspace(0, 1, 80)),
  BatchMatMul: () => tf.matMul(any(t([8, 10])), any(t([10, 8]))),
  _FusedMatMul: () => tf.fused.matMul({ a: any(t([8, 10])), b: any(t([10, 8])), bias: t([8]), activation: 'relu' }),
  Conv2D: () => tf.conv2d(any(image()), any(t([3, 3, 3, 4])), 2, 'same'),
  FusedConv2D: () =>
    tf.fused.conv2d({ x: any(image()), filter: any(t([3, 3, 3, 4])), strides: 1, pad: 'same', bias: t([4]), activation: 'relu' }),
  Conv2DBackpropInput: () => dx((x) => tf.conv2d(any(x), any(t([3, 3, 3, 4])), 2, 'same'), image()),
  Conv2DBackpropFilter: () => dx((w) => tf.conv2d(any(image()), any(w), 2, 'same'), t([3, 3, 3, 4])),
  Conv3D: () => tf.conv3d(any(volume()), any(t([2, 2, 2, 2, 3])), 1, 'same'),
  Conv3DBackpropInputV2: () => dx((x) => tf.conv3d(any(x), any(t([2, 2, 2, 2, 3])), 1, 'same'), volume()),
  Conv3DBackpropFilterV2: () => dx((w) => tf.conv3d(any(volume()), any(w), 1, 'same'), t([2, 2, 2, 2, 3])),
  DepthwiseConv2dNative: () => tf.depthwiseConv2d(any(image()), any(t([3, 3, 3, 2])), 1, 'same'),
  FusedDepthwiseConv2D: () =>
    tf.fused.depthwiseConv2d({ x: any(image()), filter: any(t([3, 3, 3, 2])), strides: 1, pad: 'same', bias: t([6]), activation: 'relu' }),
  DepthwiseConv2dNativeBackpropInput: () => dx((x) => tf.depthwiseConv2d(any(x), any(t([3, 3, 3, 2])), 1, 'same'), image()),
  DepthwiseConv2dNativeBackpropFilter: () => dx((w) => tf.depthwiseConv2d(any(image()), any(w), 1, 'same'), t([3, 3, 3, 2])),
  MaxPool: () => tf.maxPool(any(image()), 3, 2, 'same'),
  MaxPool3D: () => tf.maxPool3d(any(volume()), 2, 1, 'same'),
  MaxPoolGrad: () => dx((x) => tf.maxPool(any(x), 3, 2, 'same'), image()),
  MaxPool3DGrad: () => dx((x) => tf.maxPool3d(any(x), 2, 1, 'same'), volume()),
  MaxPoolWithArgmax: () => tf.maxPoolWithArgmax(any(image()), 2, 2, 'valid').indexes as Tensor,
  AvgPool: () => tf.avgPool(any(image()), 3, 1, 'same'),
  AvgPool3D: () => tf.avgPool3d(any(volume()), 2, 1, 'same'),
  AvgPoolGrad: () => dx((x) => tf.avgPool(any(x), 3, 1, 'same'), image()),
  AvgPool3DGrad: () => dx((x) => tf.avgPool3d(any(x), 2, 1, 'same'), volume()),
  ResizeBilinear: () => tf.image.resizeBilinear(any(image()), [128, 128]),
  ResizeBilinearGrad: () => dx((x) => tf.image.resizeBilinear(any(x), [90, 70]), image()),
  ResizeNearestNeighbor: () => tf.image.resizeNearestNeighbor(any(image()), [128, 90]),
  ResizeNearestNeighborGrad: () => dx((x) => tf.image.resizeNearestNeighbor(any(x), [90, 70]), image()),
  FusedBatchNorm: () => tf.batchNorm(any(image()), any(t([3])), any(tf.tensor1d([1, 2, 3]))),
  LRN: () => tf.localResponseNormalization(any(image()), 1),
  LRNGrad: () => dx((x) => tf.localResponseNormalization(any(x), 1), image()),
  DepthToSpace: () => tf.depthToSpace(any(t([1, 4, 5, 8])), 2),
  BatchToSpaceND: () => tf.batchToSpaceND(t([4, 3, 5, 2]), [2, 2], [[0, 0], [0, 0]]), // prettier-ignore
  SpaceToBatchND: () => tf.spaceToBatchND(t([1, 6, 10, 2]), [2, 2], [[0, 0], [0, 0]]), // prettier-ignore
  Einsum: () => tf.einsum('ij,jk->ki', t([8, 9]), t([9, 10])),
  ScatterNd: () => tf.scatterND(any(tf.tensor2d([[1], [70]], [2, 1], 'int32')), t([2]), [80]),
  TensorScatterUpdate: () => tf.tensorScatterUpdate(t([80]), any(tf.tensor2d([[1], [70]], [2, 1], 'int32')), t([2])),
  SparseToDense: () => tf.sparseToDense(any(whole([1, 70])), t([2]), [80], tf.scalar(0)),
  UnsortedSegmentSum: () => tf.unsortedSegmentSum(t([80]), any(whole(Array.from({ length: 80 }, (_, i) => i % 3))), 3),
  Bincount: () => tf.bincount(any(whole([1, 3, 3])), tf.tensor1d([]), 80),
  DenseBincount: () => tf.denseBincount(any(whole([1, 3, 3])), tf.tensor1d([]), 80),
  CropAndResize: () => tf.image.cropAndResize(any(image()), any(tf.tensor2d([[0, 0, 0.7, 0.8]])), any(whole([0])), [90, 80]),
  Transform: () => tf.image.transform(any(image()), any(tf.tensor2d([[0.8, -0.6, 2, 0.6, 0.8, -1, 0, 0]])), 'bilinear', 'reflect'),
  RotateWithOffset: () => tf.image.rotateWithOffset(any(image()), 0.3),
  FlipLeftRight: () => tf.image.flipLeftRight(any(image())),
  Dilation2D: () => tf.dilation2d(any(image()), any(t([2, 3, 3])), 1, 'same'),
  Dilation2DBackpropFilter: () => dx((w) => tf.dilation2d(any(image()), any(w), 1, 'same') as Tensor, t([2, 3, 3])),
  Dilation2DBackpropInput: () => dx((x) => tf.dilation2d(any(x), any(t([2, 3, 3])), 1, 'same') as Tensor, image()),
  RowMax: () => kernel('RowMax', { x: t([4, 80]) }),
  Standardize: () => kernel('Standardize', { x: t([4, 80]) }, { eps: 1e-5 }),
  LayerNorm: () => kernel('LayerNorm', { x: t([4, 80]), weight: t([80]), bias: t([80]) }, { eps: 1e-5 }),
  Complex: () => tf.real(tf.fft(any(tf.complex(t([96]), t([96], 2))))),
};

describe('every kernel', () => {
  it('has a call here, but for those on the host', () => {
    const missing = Object.keys(kernels).filter((name) => !(name in calls) && !(name in hostReasons));
    expect(missing).toEqual([]);
  });

  for (const [name, call] of Object.entries(calls)) {
    it(`makes one session when it is called twice: ${name}`, () => {
      const values = (): number[][] =>
        tf.tidy(() => {
          const out = call();
          return (Array.isArray(out) ? out : [out]).map((x) => Array.from(x.dataSync()));
        });
      const first = values();
      const made = backend().sessions.created;
      for (let i = 0; i < 3; i++) expect(values()).toEqual(first);
      expect(backend().sessions.created).toBe(made);
    });
  }
});

/** What changes from one step to the next and is no shape. */
const loops: Record<string, (i: number) => Tensor> = {
  'a scalar factor': (i) => tf.mul(t([9]), i / 7),
  'a filled tensor': (i) => tf.add(t([9]), tf.fill([9], i / 7)),
  'bounds of a clip': (i) => tf.clipByValue(t([9]), -0.1 * i, 0.1 * i),
  'a start of a slice': (i) => tf.slice(t([90]), [i], [3]),
  'starts of a strided slice': (i) => tf.stridedSlice(t([90]), [i], [i + 6], [2]),
  'a place in a one-hot row': (i) => tf.oneHot(any(tf.scalar(i, 'int32')), 100),
  'an index of a gather': (i) => tf.gather(t([90]), any(tf.scalar(i, 'int32'))),
  'what is padded with': (i) => tf.pad(t([9]), [[1, 2]], i),
  'a table of weights': (i) => tf.image.rotateWithOffset(any(image()), i / 10),
  'a range': (i) => tf.sin(tf.range(i, i + 5)),
  'an exponent': (i) => tf.pow(tf.abs(t([9])), i / 7),
  'the epsilon of a normalization': (i) =>
    tf.batchNorm(any(image()), any(t([3])), any(tf.tensor1d([1, 2, 3])), undefined, undefined, i / 9),
  'a number inside a loop': (i) =>
    traceScan(backend(), [tf.scalar(0)], [t([3, 9])], ([carry], [row]) => ({
      carry: [carry!],
      collected: [tf.clipByValue(tf.mul(row!, (i + 0.5) / 7), -0.1 * i, 0.1 * i)],
    })).collected[0]!,
};

describe('a number that changes from step to step', () => {
  for (const [name, f] of Object.entries(loops)) {
    it(`makes no further session: ${name}`, () => {
      const run = (i: number): void => tf.tidy(() => void f(i).dataSync());
      for (const i of [2, 3]) run(i);
      const made = backend().sessions.created;
      for (let i = 4; i < 24; i++) run(i);
      expect(backend().sessions.created).toBe(made);
    });
  }

  it('is the number of this step and of no other', () => {
    for (let i = 2; i < 9; i++) {
      expect(tf.tidy(() => Array.from(tf.clipByValue(tf.tensor1d([-9, 9]), -i, i).dataSync()))).toEqual([-i, i]);
      expect(tf.tidy(() => Array.from(tf.slice(tf.range(0, 90), [i], [2]).dataSync()))).toEqual([i, i + 1]);
    }
  });
});
