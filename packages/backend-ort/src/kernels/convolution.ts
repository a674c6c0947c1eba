import { sizeOf, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { activate } from './matmul.ts';
import { channelsFirst, channelsLast, convolutionWindows, cutSpatial, isChannelsFirst, padSpatial, reach, type Windows } from './window.ts';

/**
 * Convolutions over two and three spatial axes, plain and depthwise, with both gradients. TensorFlow.js keeps channels last and filters
 * […, I, O] (depthwise […, C, M], channel c giving outputs c M … c M + M - 1); ONNX wants [B, C, …] and [O, I / groups, …].
 */

const float = (k: KernelCall, name: string): Node => k.graph.cast(k.node(name), 'float32');
const given = (k: KernelCall, x: Node): Node => (isChannelsFirst(k) ? x : channelsFirst(k.graph, x));
const wanted = (k: KernelCall, x: Node): Node => (isChannelsFirst(k) ? x : channelsLast(k.graph, x));

/** Moves the first axes of a filter behind its last two. */
const filterToOnnx = (g: Graph, x: Node, depthwise: boolean): Node => {
  const n = x.shape.length - 2;
  const spatial = Array.from({ length: n }, (_, i) => i);
  if (!depthwise) return g.transpose(x, [n + 1, n, ...spatial]);
  return g.reshape(g.transpose(x, [n, n + 1, ...spatial]), [x.shape[n]! * x.shape[n + 1]!, 1, ...x.shape.slice(0, n)]);
};

/** x [B, I, …], weights [O, I / groups, …] -> [B, O, …] */
function convolve(g: Graph, x: Node, weights: Node, windows: Windows, group: number): Node {
  const { before, after, first, last } = reach(windows);
  const { strides, dilations, size, output } = windows;
  const attributes = { strides, dilations, pads: [...before, ...after], kernel_shape: size, group };
  return g.add('Conv', [cutSpatial(g, x, first, last), weights], attributes, [x.shape[0]!, weights.shape[0]!, ...output], 'float32');
}

function forward(k: KernelCall, depthwise: boolean): Node {
  const [x, filter] = [float(k, 'x'), float(k, 'filter')];
  const windows = convolutionWindows(k, x.shape, filter.shape, depthwise);
  const image = given(k, x);
  const channels = image.shape[1]!;
  const group = depthwise ? channels : channels / filter.shape[filter.shape.length - 2]!;
  return wanted(k, convolve(k.graph, image, filterToOnnx(k.graph, filter, depthwise), windows, group));
}

/** dL/dx: the transposed convolution of dL/dy with the same filter. */
function backwardInput(k: KernelCall, depthwise: boolean): Node {
  const g = k.graph;
  const [dy, filter] = [float(k, 'dy'), float(k, 'filter')];
  const inputShape = k.attribute<number[]>('inputShape');
  const windows = convolutionWindows(k, inputShape, filter.shape, depthwise);
  const { strides, dilations, size, input, output } = windows;
  const { before, after, first, last } = reach(windows);
  const back = firstSpatial(g, given(k, dy), output);
  const channels = filter.shape[filter.shape.length - 2]!;
  const attributes = { strides, dilations, pads: [...before, ...after], kernel_shape: size, group: depthwise ? channels : 1 };
  const shape = [back.shape[0]!, channels, ...last.map((n, i) => n - first[i]!)];
  const image = g.add('ConvTranspose', [back, filterToOnnx(g, filter, depthwise)], attributes, shape, 'float32');
  const rest = input.map((n, i) => n - last[i]!);
  return wanted(k, padSpatial(g, image, first, rest, 0));
}

const firstSpatial = (g: Graph, x: Node, sizes: readonly number[]): Node =>
  cutSpatial(
    g,
    x,
    sizes.map(() => 0),
    sizes,
  );

/**
 * dL/dfilter: x convolved with dL/dy, batch and channels exchanged, stride and dilation exchanged. Plain: x as [I, B, …], dy as filters
 * [O, B, …] -> [I, O, …]. Depthwise: x as [1, C B, …], dy as filters [C M, B, …] in C groups -> [1, C M, …].
 */
function backwardFilter(k: KernelCall, depthwise: boolean): Node {
  const g = k.graph;
  const [x, dy] = [float(k, 'x'), float(k, 'dy')];
  const filterShape = k.attribute<number[]>('filterShape');
  if (sizeOf(x.shape) === 0) return g.fill(0, filterShape);
  const windows = convolutionWindows(k, x.shape, filterShape, depthwise);
  const spatial = windows.size.map((_, i) => i + 2);
  const swap = (v: Node): Node => g.transpose(v, [1, 0, ...spatial]);
  const image = swap(given(k, x));
  const exchanged = { ...windows, strides: windows.dilations, dilations: windows.strides, size: windows.output, output: windows.size };
  const [channels, batch] = image.shape as [number, number];
  const front = depthwise ? g.reshape(image, [1, channels * batch, ...windows.input]) : image;
  const filters = swap(firstSpatial(g, given(k, dy), windows.output));
  const gradient = convolve(g, front, filters, exchanged, depthwise ? channels : 1);
  const parted = g.reshape(gradient, [...filterShape.slice(-2), ...windows.size]);
  return g.transpose(parted, [...spatial, 0, 1]);
}

/** Bias and activation behind a convolution. */
function fused(k: KernelCall, raw: Node): Node {
  // One number a channel, or the output's own layout.
  const perChannel = (name: string): Node => {
    const x = k.node(name);
    return isChannelsFirst(k) && x.shape.length === 1 ? k.graph.reshape(x, [x.shape[0]!, 1, 1]) : x;
  };
  const biased = k.has('bias') ? k.graph.binary('Add', raw, perChannel('bias')) : raw;
  return activate(k, biased, k.has('preluActivationWeights') ? perChannel('preluActivationWeights') : null);
}

export const convolution: KernelTable = {
  Conv2D: (k) => forward(k, false),
  FusedConv2D: (k) => fused(k, forward(k, false)),
  Conv2DBackpropInput: (k) => backwardInput(k, false),
  Conv2DBackpropFilter: (k) => backwardFilter(k, false),
  Conv3D: (k) => forward(k, false),
  Conv3DBackpropInputV2: (k) => backwardInput(k, false),
  Conv3DBackpropFilterV2: (k) => backwardFilter(k, false),
  DepthwiseConv2dNative: (k) => forward(k, true),
  FusedDepthwiseConv2D: (k) => fused(k, forward(k, true)),
  DepthwiseConv2dNativeBackpropInput: (k) => backwardInput(k, true),
  DepthwiseConv2dNativeBackpropFilter: (k) => backwardFilter(k, true),
};
