import type { Graph, Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { tf } from '../tf.ts';
import { activate } from './matmul.ts';

/** 2-D convolutions. TensorFlow.js keeps channels last and filters [H, W, I, O]; ONNX wants NCHW and [O, I, H, W]. */

interface Geometry {
  filter: [number, number];
  strides: [number, number];
  dilations: [number, number];
  /** top, left */
  pads: [number, number];
  output: [number, number];
  input: [number, number];
}

function geometryOf(k: KernelCall, xShape: readonly number[], filterShape: readonly number[]): Geometry {
  const nchw = k.attribute<string>('dataFormat') === 'NCHW';
  const info = tf.backend_util.computeConv2DInfo(
    xShape as [number, number, number, number],
    filterShape as [number, number, number, number],
    k.attribute<number | [number, number]>('strides'),
    k.attribute<number | [number, number] | undefined>('dilations') ?? 1,
    k.attribute<'valid' | 'same' | number>('pad'),
    k.attribute<'floor' | undefined>('dimRoundingMode'),
    false,
    nchw ? 'channelsFirst' : 'channelsLast',
  );
  const { top, left } = info.padInfo;
  return {
    filter: [info.filterHeight, info.filterWidth],
    strides: [info.strideHeight, info.strideWidth],
    dilations: [info.dilationHeight, info.dilationWidth],
    pads: [top, left],
    output: [info.outHeight, info.outWidth],
    input: [info.inHeight, info.inWidth],
  };
}

const channelsFirst = (k: KernelCall, x: Node): Node =>
  k.attribute<string>('dataFormat') === 'NCHW' ? x : k.graph.transpose(x, [0, 3, 1, 2]);
const backFrom = (k: KernelCall, x: Node): Node => (k.attribute<string>('dataFormat') === 'NCHW' ? x : k.graph.transpose(x, [0, 2, 3, 1]));

/**
 * Pads at the end that bring a convolution to exactly the wanted output, and how much of the input it reaches then. TensorFlow.js's own
 * count of output columns takes the filter's height for its width under explicit padding, so its word on the output is taken, not on pads.
 */
function reach({ filter, strides, dilations, pads, output, input }: Geometry): { end: number[]; kept: number[] } {
  const over = [0, 1].map((i) => (output[i]! - 1) * strides[i]! + (filter[i]! - 1) * dilations[i]! + 1 - input[i]! - pads[i]!);
  return { end: over.map((x) => Math.max(0, x)), kept: [0, 1].map((i) => input[i]! + Math.min(0, over[i]!)) };
}

function forward(k: KernelCall): Node {
  const g = k.graph;
  const [x, filter] = [g.cast(k.node('x'), 'float32'), g.cast(k.node('filter'), 'float32')];
  const geometry = geometryOf(k, x.shape, filter.shape);
  const image = channelsFirst(k, x);
  const { strides, dilations, pads, output } = geometry;
  const { end, kept } = reach(geometry);
  const [batch, channels] = image.shape as [number, number];
  const attributes = {
    strides,
    dilations,
    pads: [pads[0], pads[1], ...end],
    kernel_shape: geometry.filter,
    group: channels / filter.shape[2]!,
  };
  const cut = g.slice(image, [0, 0, 0, 0], [batch, channels, ...kept]);
  return backFrom(k, g.add('Conv', [cut, g.transpose(filter, [3, 2, 0, 1])], attributes, [batch, filter.shape[3]!, ...output], 'float32'));
}

/** dL/dx: the transposed convolution of dL/dy with the same filter. */
function backwardInput(k: KernelCall): Node {
  const g = k.graph;
  const [dy, filter] = [k.node('dy'), k.node('filter')];
  const geometry = geometryOf(k, k.attribute<number[]>('inputShape'), filter.shape);
  const { strides, dilations, pads, input, output } = geometry;
  const { end, kept } = reach(geometry);
  const given = channelsFirst(k, dy);
  const back = g.slice(given, [0, 0, 0, 0], [given.shape[0]!, given.shape[1]!, ...output]);
  const attributes = { strides, dilations, pads: [pads[0], pads[1], ...end], kernel_shape: geometry.filter };
  const shape = [back.shape[0]!, filter.shape[2]!, ...kept];
  const image = g.add('ConvTranspose', [back, g.transpose(filter, [3, 2, 0, 1])], attributes, shape, 'float32');
  return backFrom(k, padTo(g, image, input));
}

/** Zero rows and columns at the end, up to a size. */
function padTo(g: Graph, x: Node, [height, width]: readonly [number, number]): Node {
  const [rows, columns] = [height - x.shape[2]!, width - x.shape[3]!];
  if (rows === 0 && columns === 0) return x;
  return g.add(
    'Pad',
    [x, g.int64([0, 0, 0, 0, 0, 0, rows, columns]), g.scalar(0)],
    { mode: 'constant' },
    [x.shape[0]!, x.shape[1]!, height, width],
    'float32',
  );
}

/**
 * dL/dfilter: x convolved with dL/dy, batch and channels exchanged, stride and dilation exchanged.
 * x [B, H, W, I] as [I, B, H, W], dy [B, h, w, O] as filters [O, B, h, w] -> [I, O, fh, fw].
 */
function backwardFilter(k: KernelCall): Node {
  const g = k.graph;
  const [x, dy] = [k.node('x'), k.node('dy')];
  const filterShape = k.attribute<number[]>('filterShape');
  const geometry = geometryOf(k, x.shape, filterShape);
  const { strides, dilations, pads, output, filter } = geometry;
  const { end, kept } = reach(geometry);
  const image = g.transpose(channelsFirst(k, x), [1, 0, 2, 3]);
  const cut = g.slice(image, [0, 0, 0, 0], [image.shape[0]!, image.shape[1]!, ...kept]);
  const filters = g.transpose(channelsFirst(k, dy), [1, 0, 2, 3]);
  const attributes = {
    strides: dilations,
    dilations: strides,
    pads: [pads[0], pads[1], ...end],
    kernel_shape: output,
  };
  const gradient = g.add('Conv', [cut, filters], attributes, [filterShape[2]!, filterShape[3]!, ...filter], 'float32');
  return g.transpose(gradient, [2, 3, 0, 1]);
}

export const convolution: KernelTable = {
  Conv2D: forward,
  FusedConv2D: (k) => {
    const raw = forward(k);
    // One number a channel, or the output's own layout.
    const perChannel = (name: string): Node => {
      const x = k.node(name);
      return k.attribute<string>('dataFormat') === 'NCHW' && x.shape.length === 1 ? k.graph.reshape(x, [x.shape[0]!, 1, 1]) : x;
    };
    const biased = k.has('bias') ? k.graph.binary('Add', raw, perChannel('bias')) : raw;
    return activate(k, biased, k.has('preluActivationWeights') ? perChannel('preluActivationWeights') : null);
  },
  Conv2DBackpropInput: backwardInput,
  Conv2DBackpropFilter: backwardFilter,
};
