import { sizeOf, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { tf } from '../tf.ts';
import { where } from './elementwise.ts';
import { padded } from './shape.ts';

/** Morphological dilation of images [B, H, W, C] with a filter [h, w, C]: the maximum of x + filter over a window. */

/** The start value of the maximum in TensorFlow.js. */
const START = Number.MIN_SAFE_INTEGER;

type Info = ReturnType<typeof tf.backend_util.computeDilation2DInfo>;

/** One element of the filter: the sum x + filter for all windows [B, h, w, C], and the position of the element in the window. */
interface Tap {
  sum: Node;
  row: number;
  column: number;
}

function taps(k: KernelCall): { taps: Tap[]; info: Info; shape: number[]; grid: [number, number] } {
  const g = k.graph;
  const [x, filter] = [g.cast(k.node('x'), 'float32'), g.cast(k.node('filter'), 'float32')];
  const info = tf.backend_util.computeDilation2DInfo(
    [...x.shape] as [number, number, number, number],
    [...filter.shape] as [number, number, number],
    k.attribute<number | [number, number]>('strides'),
    k.attribute<'valid' | 'same' | number>('pad'),
    'NHWC',
    k.attribute<number | [number, number]>('dilations'),
  );
  const { outHeight, outWidth, strideHeight, strideWidth, dilationHeight, dilationWidth, padInfo } = info;
  const shape = [info.batchSize, outHeight, outWidth, info.inChannels];
  const below = (outHeight - 1) * strideHeight + (info.filterHeight - 1) * dilationHeight + 1 - info.inHeight - padInfo.top;
  const right = (outWidth - 1) * strideWidth + (info.filterWidth - 1) * dilationWidth + 1 - info.inWidth - padInfo.left;
  const widths = [
    [0, 0],
    [padInfo.top, Math.max(0, below)],
    [padInfo.left, Math.max(0, right)],
    [0, 0],
  ];
  const source = padded(g, x, widths, -Infinity);
  const list: Tap[] = [];
  for (let h = 0; h < info.filterHeight; h++) {
    for (let w = 0; w < info.filterWidth; w++) {
      const [row, column] = [h * dilationHeight, w * dilationWidth];
      const ends = [row + (outHeight - 1) * strideHeight + 1, column + (outWidth - 1) * strideWidth + 1];
      const strided = [g.int64([row, column]), g.int64(ends), g.int64([1, 2]), g.int64([strideHeight, strideWidth])];
      const seen = g.add('Slice', [source, ...strided], {}, shape, 'float32');
      list.push({ sum: g.binary('Add', seen, g.slice(filter, [h, w, 0], [1, 1, info.inChannels])), row, column });
    }
  }
  return { taps: list, info, shape, grid: [source.shape[1]!, source.shape[2]!] };
}

/** The largest sum, ignoring NaN, and the index of its tap. If several are equal, the first one counts. */
function best(g: Graph, list: readonly Tap[], shape: number[]): { value: Node; at: Node } {
  let [value, at] = [g.fill(START, shape), g.fill(0, shape, 'int32')];
  list.forEach(({ sum }, i) => {
    const better = g.binary('Greater', sum, value, 'bool');
    [value, at] = [where(g, better, sum, value), where(g, better, g.scalar(i, 'int32'), at)];
  });
  return { value, at };
}

function dilation(k: KernelCall): Node {
  const { taps: list, shape } = taps(k);
  if (sizeOf(shape) === 0) return k.graph.fill(0, shape, k.node('x').dtype);
  return k.graph.cast(best(k.graph, list, shape).value, k.node('x').dtype);
}

/** dL/dy where tap i has the largest sum, else 0. */
const won = (g: Graph, at: Node, i: number, dy: Node): Node =>
  where(g, g.binary('Equal', at, g.scalar(i, 'int32'), 'bool'), dy, g.scalar(0));

function filterGradient(k: KernelCall): Node {
  const g = k.graph;
  const { taps: list, info, shape } = taps(k);
  const { at } = best(g, list, shape);
  const dy = g.cast(k.node('dy'), 'float32');
  const sums = list.map((_, i) => g.reduce('ReduceSum', won(g, at, i, dy), [0, 1, 2], false));
  const filterShape = [info.filterHeight, info.filterWidth, info.inChannels];
  return g.reshape(
    g.concat(
      sums.map((sum) => g.reshape(sum, [1, info.inChannels])),
      0,
    ),
    filterShape,
  );
}

/** Adds dL/dy to the padded image at the positions of the largest sums, one tap after the other. Then the padding is removed. */
function inputGradient(k: KernelCall): Node {
  const g = k.graph;
  const { taps: list, info, shape, grid } = taps(k);
  const { at } = best(g, list, shape);
  const dy = g.cast(k.node('dy'), 'float32');
  const [batch, height, width, channels] = shape as [number, number, number, number];
  const { strideHeight, strideWidth, padInfo } = info;
  /** Inserts zeros between the elements, so that each element is where its window begins. */
  const apart = (x: Node): Node => {
    const cells = g.reshape(x, [batch, height, 1, width, 1, channels]);
    const widths = [0, 0, strideHeight - 1, 0, strideWidth - 1, 0].map((n) => [0, n]);
    return g.reshape(padded(g, cells, widths, 0), [batch, height * strideHeight, width * strideWidth, channels]);
  };
  const [rows, columns] = [(height - 1) * strideHeight + 1, (width - 1) * strideWidth + 1];
  const parts = list.map(({ row, column }, i) => {
    const spread = g.slice(apart(won(g, at, i, dy)), [0, 0, 0, 0], [batch, rows, columns, channels]);
    const widths = [
      [0, 0],
      [row, grid[0] - row - rows],
      [column, grid[1] - column - columns],
      [0, 0],
    ];
    return padded(g, spread, widths, 0);
  });
  const sum = parts.reduce((a, b) => g.binary('Add', a, b));
  return g.slice(sum, [0, padInfo.top, padInfo.left, 0], [batch, info.inHeight, info.inWidth, channels]);
}

export const dilations: KernelTable = {
  Dilation2D: dilation,
  Dilation2DBackpropFilter: filterGradient,
  Dilation2DBackpropInput: inputGradient,
};
