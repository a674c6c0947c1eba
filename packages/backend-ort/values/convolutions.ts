import { tf } from '../src/tf.ts';
import type { Tensor } from './evaluate.ts';
import { ofTerms, triples, type Geometry, type Reference } from './references.ts';
import { oneAfterTheOther, positive, sizeOf, type Summing } from './sums.ts';

/** Convolutions and their gradients, as lists of products. */

const any = (x: unknown): never => x as never;
const run = (name: string, inputs: Record<string, Tensor>, attributes: object): Tensor =>
  tf.engine().runKernel(name, inputs, attributes as never) as Tensor;

const plane: Geometry = { x: [2, 9, 11, 8], filter: [3, 3, 8, 4], strides: 1, pads: [1, 1], output: [9, 11] };
const strided: Geometry = { x: [2, 9, 11, 8], filter: [3, 2, 8, 4], strides: 2, pads: [0, 0], output: [4, 5] };
const volume: Geometry = { x: [1, 4, 5, 6, 3], filter: [2, 2, 2, 3, 4], strides: 1, pads: [0, 0, 0], output: [3, 4, 5] };
const separate: Geometry = { x: [2, 9, 11, 5], filter: [3, 3, 5, 2], strides: 1, pads: [1, 1], output: [9, 11], depthwise: true };

const shapeOfResult = ({ x, filter, output, depthwise }: Geometry): number[] => [
  x[0]!,
  ...output,
  depthwise ? filter.at(-2)! * filter.at(-1)! : filter.at(-1)!,
];

const forward =
  (at: Geometry) =>
  (x: Float32Array, w: Float32Array): Reference =>
    ofTerms(sizeOf(shapeOfResult(at)), (add) => triples(at, (i, j, k) => add(k, x[i]! * w[j]!)));
const backToInput =
  (at: Geometry) =>
  (dy: Float32Array, w: Float32Array): Reference =>
    ofTerms(sizeOf(at.x), (add) => triples(at, (i, j, k) => add(i, dy[k]! * w[j]!)));
const backToFilter =
  (at: Geometry) =>
  (x: Float32Array, dy: Float32Array): Reference =>
    ofTerms(sizeOf(at.filter), (add) => triples(at, (i, j, k) => add(j, x[i]! * dy[k]!)));

function three(name: [string, string, string], about: string, at: Geometry, attributes: object): Summing[] {
  const [x, w, dy] = [positive(at.x, 1), positive(at.filter, 2), positive(shapeOfResult(at), 3)];
  const last = at.depthwise || at.pads.length === 3 ? {} : { dimRoundingMode: undefined };
  const [taps, outputs] = [sizeOf(at.filter.slice(0, at.pads.length)), at.filter.at(-1)!];
  const [inner, places] = [at.depthwise ? taps : taps * at.filter.at(-2)!, at.x[0]! * sizeOf(at.output)];
  return [
    {
      kernel: name[0],
      about,
      f: (a, b) => run(name[0], { x: a, filter: b }, attributes),
      args: [x, w],
      reference: forward(at),
      ...oneAfterTheOther(inner),
    },
    {
      kernel: name[1],
      about,
      f: (a, b) => run(name[1], { dy: a, filter: b }, { ...attributes, ...last, inputShape: at.x }),
      args: [dy, w],
      reference: backToInput(at),
      ...oneAfterTheOther(taps * outputs),
    },
    {
      kernel: name[2],
      about,
      f: (a, b) => run(name[2], { x: a, dy: b }, { ...attributes, ...last, filterShape: at.filter }),
      args: [x, dy],
      reference: backToFilter(at),
      ...oneAfterTheOther(places),
    },
  ];
}

const names2D: [string, string, string] = ['Conv2D', 'Conv2DBackpropInput', 'Conv2DBackpropFilter'];

export const convolutions: readonly Summing[] = [
  ...three(names2D, '3 × 3 × 8, same', plane, { strides: 1, pad: 'same', dataFormat: 'NHWC', dilations: 1 }),
  ...three(names2D, '3 × 2 × 8, stride 2', strided, { strides: 2, pad: 'valid', dataFormat: 'NHWC', dilations: 1 }),
  ...three(['Conv3D', 'Conv3DBackpropInputV2', 'Conv3DBackpropFilterV2'], '2 × 2 × 2 × 3', volume, {
    strides: [1, 1, 1],
    pad: 'valid',
    dataFormat: 'NDHWC',
    dilations: [1, 1, 1],
  }),
  ...three(['DepthwiseConv2dNative', 'DepthwiseConv2dNativeBackpropInput', 'DepthwiseConv2dNativeBackpropFilter'], '3 × 3', separate, {
    strides: [1, 1],
    pad: 'same',
    dilations: [1, 1],
  }),
  {
    kernel: 'FusedConv2D',
    about: '3 × 3 × 8, same, relu',
    f: (x, w) => tf.fused.conv2d({ x: any(x), filter: any(w), strides: 1, pad: 'same', activation: 'relu' }),
    args: [positive(plane.x, 1), positive(plane.filter, 2)],
    reference: forward(plane),
    ...oneAfterTheOther(72),
  },
  {
    kernel: 'FusedDepthwiseConv2D',
    about: '3 × 3, same, relu',
    f: (x, w) => tf.fused.depthwiseConv2d({ x: any(x), filter: any(w), strides: 1, pad: 'same', activation: 'relu' }),
    args: [positive(separate.x, 1), positive(separate.filter, 2)],
    reference: forward(separate),
    ...oneAfterTheOther(9),
  },
];
