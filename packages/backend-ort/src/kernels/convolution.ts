import { sizeOf, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { storedAs } from './elementwise.ts';
import { activate } from './matmul.ts';
import { isListable, patchCorrelation, patchProduct, type Look } from './patches.ts';
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

/** ONNX Runtime's convolutions end the process if there are no channels. */
const isEmpty = (...nodes: readonly Node[]): boolean => nodes.some(({ shape }) => shape.includes(0));

/** The result of a convolution of no elements: zeros, or no elements. */
function sumsOfNothing(k: KernelCall, x: Node, filter: Node, { output }: Windows, depthwise: boolean): Node {
  const [inputs, outputs] = filter.shape.slice(-2) as [number, number];
  const channels = depthwise ? inputs * outputs : outputs;
  return k.graph.fill(0, isChannelsFirst(k) ? [x.shape[0]!, channels, ...output] : [x.shape[0]!, ...output, channels]);
}

/** Where each output looks into the input. */
const looksOf = ({ size, strides, dilations, pads, input, output }: Windows): Look[] =>
  size.map((taps, i) => ({ count: output[i]!, taps, step: strides[i]!, start: -pads[i]!, spacing: dilations[i]!, extent: input[i]! }));

/** Where each input looks into the output's gradient, for windows that are one step apart. */
const looksBack = ({ size, dilations, pads, input, output }: Windows): Look[] =>
  size.map((taps, i) => ({ count: input[i]!, taps, step: 1, start: pads[i]!, spacing: -dilations[i]!, extent: output[i]! }));

/** Whether products over patches do for a call: channels lie where they want them, and the device's own convolution is slower. */
const byPatches = (k: KernelCall, depthwise: boolean, looks: readonly Look[], ...shapes: readonly (readonly number[])[]): boolean =>
  !depthwise &&
  !isChannelsFirst(k) &&
  k.backend.options.device === 'cpu' &&
  isListable(looks) &&
  shapes.every((shape) => !shape.includes(0)) &&
  looks.every(({ count }) => count > 0);

/** Whether a filter will be a constant of the compiled graph. ONNX Runtime then sorts it once, and its own convolution is the fastest form. */
function isBuiltIn(k: KernelCall, filter: Node): boolean {
  let source = filter;
  while (['Transpose', 'Reshape', 'Cast'].includes(source.op)) source = source.inputs[0]!;
  return k.backend.isTracing && source.data !== undefined;
}

/** A filter […, I, O] as a matrix [taps I, O], or [O, taps I] if it was turned from an order with the outputs first, which costs less to turn to that. */
function matrixOf(g: Graph, filter: Node): { weights: Node; turned: boolean } {
  const rank = filter.shape.length;
  const outputs = filter.shape[rank - 1]!;
  const rest = sizeOf(filter.shape) / outputs;
  if (filter.op !== 'Transpose') return { weights: g.reshape(filter, [rest, outputs]), turned: false };
  const first = g.transpose(filter, [rank - 1, ...Array.from({ length: rank - 1 }, (_, i) => i)]);
  return { weights: g.reshape(first, [outputs, rest]), turned: true };
}

/** `behind` is what follows the convolution. Its second argument is the axis of the channels, which are first behind ONNX Runtime's own convolution. */
function forward(k: KernelCall, depthwise: boolean, behind: Behind = { apply: (y) => y, anywhere: true }): Node {
  const [x, filter] = [float(k, 'x'), float(k, 'filter')];
  const windows = convolutionWindows(k, x.shape, filter.shape, depthwise);
  const last = isChannelsFirst(k) ? 1 : x.shape.length - 1;
  if (isEmpty(x, filter)) return behind.apply(sumsOfNothing(k, x, filter, windows, depthwise), last);
  const looks = looksOf(windows);
  if (
    byPatches(k, depthwise, looks, x.shape, filter.shape) &&
    !isBuiltIn(k, filter) &&
    !isShallow(filter) &&
    x.shape.at(-1) === filter.shape.at(-2)
  ) {
    const { weights, turned } = matrixOf(k.graph, filter);
    return behind.apply(patchProduct(k.graph, x, looks, weights, turned), last);
  }
  const image = given(k, x);
  const channels = image.shape[1]!;
  const group = depthwise ? channels : channels / filter.shape[filter.shape.length - 2]!;
  const y = convolve(k.graph, image, filterToOnnx(k.graph, filter, depthwise), windows, group);
  return behind.anywhere ? wanted(k, behind.apply(y, 1)) : behind.apply(wanted(k, y), last);
}

/** Bias and activation. `anywhere`: they can be applied before the channels are moved to the end, which a pool behind them then undoes. */
interface Behind {
  apply: (y: Node, channelAxis: number) => Node;
  anywhere: boolean;
}

/**
 * Whether a filter […, I, O] sees so few channels that gathering patches, which copies I numbers at a time, takes longer than the product.
 * A long sum stays a product, because products are summed in blocks.
 */
function isShallow({ shape }: Node): boolean {
  const channels = shape.at(-2)!;
  return channels <= FEW_CHANNELS && sizeOf(shape.slice(0, -1)) <= LONGEST_SUM;
}
const FEW_CHANNELS = 8;
const LONGEST_SUM = 1024;

/** dL/dx: the transposed convolution of dL/dy with the same filter. */
function backwardInput(k: KernelCall, depthwise: boolean): Node {
  const g = k.graph;
  const [dy, filter] = [float(k, 'dy'), float(k, 'filter')];
  const inputShape = k.attribute<number[]>('inputShape');
  if (isEmpty(dy, filter)) return g.fill(0, inputShape);
  const windows = convolutionWindows(k, inputShape, filter.shape, depthwise);
  const { strides, dilations, size, input, output } = windows;
  const looks = looksBack(windows);
  if (byPatches(k, depthwise, looks, dy.shape, filter.shape) && strides.every((stride) => stride === 1)) {
    const [inputs, outputs] = filter.shape.slice(-2) as [number, number];
    const order = filter.shape.map((_, i) => i);
    const back = g.transpose(filter, [...order.slice(0, -2), order.length - 1, order.length - 2]); // -> […, O, I]
    return patchProduct(g, lastSpatial(g, dy, output), looks, g.reshape(back, [sizeOf(size) * outputs, inputs]), false);
  }
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

/** The same with channels last. */
const lastSpatial = (g: Graph, x: Node, sizes: readonly number[]): Node =>
  g.slice(
    x,
    x.shape.map(() => 0),
    [x.shape[0]!, ...sizes, x.shape.at(-1)!],
  );

/**
 * dL/dfilter [..., I, O] from patches: of dy, which the gradient of the input needs too, or of x where those are far smaller or a stride leaves
 * gaps in the others.
 */
function filterByPatches(g: Graph, x: Node, dy: Node, windows: Windows): Node {
  const [I, O] = [x.shape.at(-1)!, dy.shape.at(-1)!];
  const back = looksBack(windows);
  const axes = windows.size.map((_, i) => i + 1);
  if (windows.strides.every((stride) => stride === 1) && O <= FAR_SMALLER * I && isListable(back)) {
    const sum = g.reshape(patchCorrelation(g, dy, x, back), [I, ...windows.size, O]);
    return g.transpose(sum, [...axes, 0, axes.length + 1]);
  }
  const sum = g.reshape(patchCorrelation(g, x, dy, looksOf(windows)), [O, ...windows.size, I]);
  return g.transpose(sum, [...axes, axes.length + 1, 0]);
}

const FAR_SMALLER = 4;

/**
 * dL/dfilter: x convolved with dL/dy, batch and channels exchanged, stride and dilation exchanged. Plain: x as [I, B, …], dy as filters
 * [O, B, …] -> [I, O, …]. Depthwise: x as [1, C B, …], dy as filters [C M, B, …] in C groups -> [1, C M, …].
 */
function backwardFilter(k: KernelCall, depthwise: boolean): Node {
  const g = k.graph;
  const [x, dy] = [float(k, 'x'), float(k, 'dy')];
  const filterShape = k.attribute<number[]>('filterShape');
  if (isEmpty(x, dy)) return g.fill(0, filterShape);
  const windows = convolutionWindows(k, x.shape, filterShape, depthwise);
  if (byPatches(k, depthwise, looksOf(windows), x.shape, dy.shape, filterShape))
    return filterByPatches(g, x, lastSpatial(g, dy, windows.output), windows);
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

/** A convolution with bias and activation. */
function fused(k: KernelCall, depthwise: boolean): Node {
  const g = k.graph;
  const added = ['bias', 'preluActivationWeights'].filter((name) => k.has(name));
  // One number, or one per channel.
  const plain = added.every((name) => k.infos[name]!.shape.slice(0, -1).every((size) => size === 1));
  const perChannel = (name: string, y: Node, axis: number): Node => {
    const x = k.node(name);
    const isVector = plain && x.shape.length > 0 && (x.shape.length === 1 || !isChannelsFirst(k));
    return isVector ? g.reshape(x, [sizeOf(x.shape), ...y.shape.slice(axis + 1).map(() => 1)]) : x;
  };
  const apply = (y: Node, axis: number): Node => {
    const biased = k.has('bias') ? g.binary('Add', y, perChannel('bias', y, axis)) : y;
    return activate(k, biased, k.has('preluActivationWeights') ? perChannel('preluActivationWeights', y, axis) : null);
  };
  return forward(k, depthwise, { apply, anywhere: plain });
}

export const convolution: KernelTable = {
  Conv2D: (k) => forward(k, false),
  FusedConv2D: (k) => fused(k, false),
  Conv2DBackpropInput: (k) => backwardInput(k, false),
  Conv2DBackpropFilter: (k) => backwardFilter(k, false),
  Conv3D: (k) => storedAs(k.graph, forward(k, false), k.node('x').dtype),
  Conv3DBackpropInputV2: (k) => backwardInput(k, false),
  Conv3DBackpropFilterV2: (k) => backwardFilter(k, false),
  DepthwiseConv2dNative: (k) => forward(k, true),
  FusedDepthwiseConv2D: (k) => fused(k, true),
  DepthwiseConv2dNativeBackpropInput: (k) => backwardInput(k, true),
  DepthwiseConv2dNativeBackpropFilter: (k) => backwardFilter(k, true),
};
