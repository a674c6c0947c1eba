import { sizeOf, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { sumContributions, transposeContributions, type Contribution } from './contributions.ts';
import { numberOf, storedAs, where } from './elementwise.ts';
import { reversed } from './shape.ts';
import { channelsFirst, channelsLast, cutSpatial, padSpatial, poolWindows, reach, type Windows } from './window.ts';

/**
 * Pools over two and three spatial axes, channels last, with gradients. Dilation does not occur here: for dilated pools, TensorFlow.js
 * moves pixels into the batch first.
 */

/** The start value of ONNX Runtime's maximum without indices. TensorFlow.js starts from -Infinity. */
const LOWEST = -3.4028234663852886e38;

/** Largest window whose elements are added one after the other in float32. */
const SMALL_WINDOW = 16;

const isIdentity = ({ size, input, output }: Windows): boolean => size.every((n, i) => n === 1 && input[i] === output[i]);

/**
 * x [B, C, …], cut and padded for a maximum. ONNX Runtime's maximum allows only `pads` smaller than a window, so wider padding is added
 * here. As in TensorFlow.js, NaN is never the maximum: it is replaced by -∞. This is done after the padding, because ONNX Runtime would
 * merge a padding directly before the maximum into it.
 */
function prepared(g: Graph, x: Node, windows: Windows): { source: Node; pads: number[]; offset: number[] } {
  const { before, after, first, last } = reach(windows);
  const cut = cutSpatial(g, x, first, last);
  const wide = isWide(windows);
  const full = wide ? padSpatial(g, cut, before, after, x.dtype === 'float32' ? -Infinity : -(2 ** 31)) : cut;
  // Integers become float64, which holds all of them.
  const source = x.dtype === 'float32' ? where(g, g.unary('IsNaN', full, 'bool'), g.scalar(-Infinity), full) : g.cast(full, 'float64');
  const none = before.map(() => 0);
  return wide ? { source, pads: [...none, ...none], offset: before } : { source, pads: [...before, ...after], offset: none };
}

/** Whether a padding is at least as wide as a window. Then a window may contain only padding. */
const isWide = (windows: Windows): boolean => {
  const { before, after } = reach(windows);
  return windows.size.some((n, i) => before[i]! >= n || after[i]! >= n);
};

function maxPool(k: KernelCall): Node {
  const g = k.graph;
  const x = k.node('x');
  const windows = poolWindows(k, x.shape);
  if (isIdentity(windows)) return x;
  const image = channelsFirst(g, numberOf(g, x));
  const { source, pads } = prepared(g, image, windows);
  const shape = [...image.shape.slice(0, 2), ...windows.output];
  const best = g.add('MaxPool', [source], { kernel_shape: windows.size, strides: windows.strides, pads }, shape, source.dtype);
  if (x.dtype !== 'float32') return g.cast(channelsLast(g, best), x.dtype);
  return channelsLast(g, where(g, g.binary('Equal', best, g.scalar(LOWEST), 'bool'), g.scalar(-Infinity), best));
}

/**
 * The maximum of each window [B, C, …], and its position as an index into the flattened padded input [B, C, …]. `grid` are the spatial
 * sizes of the padded input. If several elements are equal, the first one counts.
 */
function winners(g: Graph, image: Node, windows: Windows): { best: Node; at: Node; grid: number[]; offset: number[] } {
  const { source, pads, offset } = prepared(g, image, windows);
  const shape = [...image.shape.slice(0, 2), ...windows.output];
  const [best, at] = g.addMany('MaxPool', [source], { kernel_shape: windows.size, strides: windows.strides, pads }, [
    { shape, dtype: 'float32' },
    { shape, dtype: 'int64' },
  ]);
  return { best: best!, at: at!, grid: source.shape.slice(2), offset };
}

/**
 * dL/dx. Each dL/dy is added to the element that was the maximum of its window. This runs in order on one thread, so equal runs give equal
 * sums.
 */
function maxPoolGrad(k: KernelCall): Node {
  const g = k.graph;
  const [x, dy] = [g.cast(k.node('input'), 'float32'), g.cast(k.node('dy'), 'float32')];
  const windows = { ...poolWindows(k, x.shape), output: dy.shape.slice(1, -1) };
  if (sizeOf(x.shape) === 0) return x;
  const axes = windows.size.map((_, i) => i + 2);
  // With three spatial axes, TensorFlow.js takes the last of equal elements. This is the first one if all axes are reversed.
  const last = axes.length === 3;
  const turn = (v: Node): Node => (last ? reversed(g, v, axes) : v);
  const { before, after, first, last: end } = reach(windows);
  const image = cutSpatial(g, channelsFirst(g, x), first, end);
  const facing = { ...windows, pads: last ? after : before, input: image.shape.slice(2) };
  const { best, at, grid, offset } = winners(g, turn(image), facing);
  const some = g.unary('Not', g.binary('Equal', best, g.scalar(-Infinity), 'bool'));
  const given = where(g, some, turn(channelsFirst(g, dy)), g.scalar(0));
  const full = [...x.shape.slice(0, 1), image.shape[1]!, ...grid];
  const count = sizeOf(dy.shape);
  const sums = g.add(
    'ScatterElements',
    [g.fill(0, [sizeOf(full)]), g.reshape(at, [count]), g.reshape(given, [count])],
    { axis: 0, reduction: 'add' },
    [sizeOf(full)],
    'float32',
  );
  const inner = g.slice(g.reshape(sums, full), [0, 0, ...offset], image.shape);
  const rest = windows.input.map((n, i) => n - end[i]!);
  return channelsLast(g, padSpatial(g, turn(inner), first, rest, 0));
}

/** The maximum and its index in [H, W, C] or [B, H, W, C]. The index is -1 if a window has no maximum. */
function maxPoolWithArgmax(k: KernelCall): Node[] {
  const g = k.graph;
  const x = k.node('x');
  const windows = poolWindows(k, x.shape);
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const { best, at, grid, offset } = winners(g, channelsFirst(g, g.cast(x, 'float32')), windows);
  const long = (value: number): Node => g.scalar(value, 'int64');
  const [rows, columns] = grid as [number, number];
  const inGrid = g.binary('Mod', at, long(rows * columns));
  const row = g.binary('Sub', g.binary('Div', inGrid, long(columns)), long(offset[0]!));
  const column = g.binary('Sub', g.binary('Mod', inGrid, long(columns)), long(offset[1]!));
  const pixel = channelsLast(g, g.binary('Add', g.binary('Mul', row, long(width)), column));
  const channel = g.reshape(g.int64(Array.from({ length: channels }, (_, i) => i)), [1, 1, 1, channels]);
  const start = g.reshape(
    g.int64(Array.from({ length: batch }, (_, i) => (k.attribute<boolean>('includeBatchInIndex') ? i * height * width * channels : 0))),
    [batch, 1, 1, 1],
  );
  const index = g.binary('Add', g.binary('Add', g.binary('Mul', pixel, long(channels)), channel), start);
  const values = channelsLast(g, best);
  const nothing = g.binary('Equal', values, g.scalar(-Infinity), 'bool');
  return [g.cast(values, x.dtype), g.cast(where(g, nothing, long(-1), index), 'int32')];
}

/** The elements in each window along one axis. */
const covered = ({ size, strides, pads, input }: Windows, axis: number, count: number): Contribution[][] =>
  Array.from({ length: count }, (_, at) => {
    const begin = at * strides[axis]! - pads[axis]!;
    const inside = Array.from({ length: size[axis]! }, (__, j) => begin + j).filter((from) => from >= 0 && from < input[axis]!);
    return inside.map((from) => ({ from, weight: 1 }));
  });

/** The mean of the elements in a window, without padding. */
function avgPool(k: KernelCall): Node {
  const g = k.graph;
  const raw = k.node('x');
  const windows = poolWindows(k, raw.shape);
  if (isIdentity(windows)) return raw;
  const x = g.cast(raw, 'float32');
  return storedAs(g, meanOf(g, x, windows), raw.dtype);
}

/** ONNX Runtime adds the elements of a window one after the other. This is exact enough for small windows only. */
function meanOf(g: Graph, x: Node, windows: Windows): Node {
  const { size, input, output, pads } = windows;
  const isWhole = size.every((n, axis) => n === input[axis] && output[axis] === 1 && pads[axis] === 0);
  if (isWhole) return g.reduce('ReduceMean', x, size.map((_, axis) => axis + 1), true); // prettier-ignore
  return isWide(windows) || sizeOf(size) > SMALL_WINDOW ? wideMean(g, x, windows) : narrowMean(g, x, windows);
}

function narrowMean(g: Graph, x: Node, windows: Windows): Node {
  const { before, after, first, last } = reach(windows);
  const image = cutSpatial(g, channelsFirst(g, x), first, last);
  const attributes = { kernel_shape: windows.size, strides: windows.strides, pads: [...before, ...after], count_include_pad: 0 };
  return channelsLast(g, g.add('AveragePool', [image], attributes, [...image.shape.slice(0, 2), ...windows.output], 'float32'));
}

/** Sums along one axis after the other. A window without elements gives NaN, or 0 for three spatial axes. */
function wideMean(g: Graph, x: Node, windows: Windows): Node {
  const lists = windows.output.map((count, axis) => covered(windows, axis, count));
  const sum = lists.reduce((v, list, axis) => sumContributions(g, v, axis + 1, list), x);
  const counts = lists.reduce((all, list) => all.flatMap((n) => list.map((taken) => n * taken.length)), [1]);
  const divisors = windows.size.length === 3 ? counts.map((n) => Math.max(1, n)) : counts;
  return g.binary('Div', sum, g.constant(Float32Array.from(divisors), [1, ...windows.output, 1], 'float32'));
}

/**
 * dL/dx. As in TensorFlow.js, the divisor is the size of the whole window, at the borders too. The mean itself divides by the number of
 * elements inside.
 */
function avgPoolGrad(k: KernelCall): Node {
  const g = k.graph;
  const x = k.infos.input!;
  const dy = g.cast(k.node('dy'), 'float32');
  if (x.shape.includes(0) || dy.shape.includes(0)) return g.fill(0, x.shape);
  const windows = poolWindows(k, x.shape);
  const back = (v: Node, axis: number): Node =>
    sumContributions(g, v, axis + 1, transposeContributions(covered(windows, axis, dy.shape[axis + 1]!), windows.input[axis]!));
  return g.binary('Mul', windows.input.map((_, axis) => axis).reduce(back, dy), g.scalar(1 / sizeOf(windows.size)));
}

export const pooling: KernelTable = {
  MaxPool: maxPool,
  // TensorFlow.js gives floats here, and the dtype of x with two axes.
  MaxPool3D: (k) => k.graph.cast(maxPool(k), 'float32'),
  MaxPoolGrad: maxPoolGrad,
  MaxPool3DGrad: maxPoolGrad,
  MaxPoolWithArgmax: maxPoolWithArgmax,
  AvgPool: avgPool,
  AvgPool3D: avgPool,
  AvgPoolGrad: avgPoolGrad,
  AvgPool3DGrad: avgPoolGrad,
};
