import type { Graph, Node } from '../graph.ts';
import type { KernelCall } from '../kernel.ts';
import { tf } from '../tf.ts';
import { padded } from './shape.ts';

/** The sliding windows of a convolution or pool. Each list has one number per spatial axis, for two or three axes. */
export interface Windows {
  /** Size of a window, before dilation. */
  size: number[];
  strides: number[];
  dilations: number[];
  /** Padding before the first element. It is negative if the first windows skip some elements. */
  pads: number[];
  input: number[];
  output: number[];
}

type Info2D = ReturnType<typeof tf.backend_util.computeConv2DInfo>;
type Info3D = ReturnType<typeof tf.backend_util.computeConv3DInfo>;
type Spread = number | [number, number];
type Spread3D = number | [number, number, number];
type Padding = 'valid' | 'same' | number;
type Rounding = 'floor' | 'round' | 'ceil' | undefined;

const windows2D = (info: Info2D): Windows => ({
  size: [info.filterHeight, info.filterWidth],
  strides: [info.strideHeight, info.strideWidth],
  dilations: [info.dilationHeight, info.dilationWidth],
  pads: [info.padInfo.top, info.padInfo.left],
  input: [info.inHeight, info.inWidth],
  output: [info.outHeight, info.outWidth],
});

const windows3D = (info: Info3D): Windows => ({
  size: [info.filterDepth, info.filterHeight, info.filterWidth],
  strides: [info.strideDepth, info.strideHeight, info.strideWidth],
  dilations: [info.dilationDepth, info.dilationHeight, info.dilationWidth],
  pads: [info.padInfo.front, info.padInfo.top, info.padInfo.left],
  input: [info.inDepth, info.inHeight, info.inWidth],
  output: [info.outDepth, info.outHeight, info.outWidth],
});

/** The windows of a convolution kernel. The rank of x decides between two and three spatial axes. */
export function convolutionWindows(k: KernelCall, xShape: readonly number[], filterShape: readonly number[], depthwise = false): Windows {
  const pad = k.attribute<Padding>('pad');
  if (xShape.length === 5) {
    const dilations = k.attribute<Spread3D | undefined>('dilations') ?? 1;
    return windows3D(tf.backend_util.computeConv3DInfo(five(xShape), five(filterShape), k.attribute<Spread3D>('strides'), dilations, pad));
  }
  return windows2D(
    tf.backend_util.computeConv2DInfo(
      four(xShape),
      four(filterShape),
      k.attribute<Spread>('strides'),
      k.attribute<Spread | undefined>('dilations') ?? 1,
      pad,
      k.attribute<Rounding>('dimRoundingMode'),
      depthwise,
      isChannelsFirst(k) ? 'channelsFirst' : 'channelsLast',
    ),
  );
}

/** The windows of a pooling kernel. The channels of x are last. */
export function poolWindows(k: KernelCall, xShape: readonly number[]): Windows {
  const pad = k.attribute<Padding>('pad');
  const rounding = k.attribute<Rounding>('dimRoundingMode');
  if (xShape.length === 5) {
    const [size, strides] = [k.attribute<Spread3D>('filterSize'), k.attribute<Spread3D>('strides')];
    return windows3D(tf.backend_util.computePool3DInfo(five(xShape), size, strides, 1, pad, rounding));
  }
  const [size, strides] = [k.attribute<Spread>('filterSize'), k.attribute<Spread>('strides')];
  return windows2D(tf.backend_util.computePool2DInfo(four(xShape), size, strides, 1, pad, rounding));
}

const four = (shape: readonly number[]): [number, number, number, number] => [...shape] as [number, number, number, number];
const five = (shape: readonly number[]): [number, number, number, number, number] => [...shape] as [number, number, number, number, number];

/** For each axis: the number of zeros before and after the input, and the part [first, last) of the input that the windows read. */
export interface Reach {
  before: number[];
  after: number[];
  first: number[];
  last: number[];
}

/**
 * Padding and cut for windows that give exactly the wanted output. The output sizes of TensorFlow.js are used, but not its padding at the
 * end: with explicit padding, it computes the number of output columns from the height of the filter instead of the width. With three axes,
 * its padding may be negative.
 */
export function reach({ size, strides, dilations, pads, output, input }: Windows): Reach {
  const over = size.map((n, i) => (output[i]! - 1) * strides[i]! + (n - 1) * dilations[i]! + 1 - input[i]! - pads[i]!);
  return {
    before: pads.map((n) => Math.max(0, n)),
    after: over.map((n) => Math.max(0, n)),
    first: pads.map((n) => Math.max(0, -n)),
    last: over.map((n, i) => input[i]! + Math.min(0, n)),
  };
}

export const isChannelsFirst = (k: KernelCall): boolean => k.attribute<string | undefined>('dataFormat') === 'NCHW';

/** [B, …, C] -> [B, C, …], the layout of ONNX. */
export function channelsFirst(g: Graph, x: Node): Node {
  const last = x.shape.length - 1;
  return g.transpose(x, [0, last, ...axes(last - 1)]);
}

/** [B, C, …] -> [B, …, C] */
export function channelsLast(g: Graph, x: Node): Node {
  const rank = x.shape.length;
  return g.transpose(x, [0, ...axes(rank - 2).map((axis) => axis + 1), 1]);
}

/** 1, 2, …, count */
const axes = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

/** Pads the spatial axes of [B, C, …] with a value. */
export function padSpatial(g: Graph, x: Node, before: readonly number[], after: readonly number[], value: number): Node {
  const widths = before.map((n, i) => [n, after[i]!]);
  return padded(g, x, [[0, 0], [0, 0], ...widths], value);
}

/** The part [first, last) of the spatial axes of [B, C, …]. */
export const cutSpatial = (g: Graph, x: Node, first: readonly number[], last: readonly number[]): Node =>
  g.slice(x, [0, 0, ...first], [...x.shape.slice(0, 2), ...last.map((n, i) => n - first[i]!)]);
