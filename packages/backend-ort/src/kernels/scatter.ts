import { sizeOf, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { tf } from '../tf.ts';
import { numberOf, where } from './elementwise.ts';
import { checkedIndices, checkedRows } from './bounds.ts';

/** Kernels that write elements at given indices. */

/** Largest number of rows that are added one after the other in float32. */
const FEW = 16;

/**
 * Writes the rows of `updates` [N, W] into the rows of `target` [R, W] with the numbers `rows` [N]. With `add` they are added. ONNX Runtime
 * scatters in order on one thread. So if a row number occurs twice, the sum is the same at every run, and without `add` the last row stays.
 */
function scatterRows(g: Graph, target: Node, rows: Node, updates: Node, add: boolean): Node {
  const [n, width] = updates.shape as [number, number];
  const spread = g.expand(g.reshape(rows, [n, 1]), [n, width]);
  const scattered = (into: Node, from: Node): Node =>
    g.add('ScatterElements', [into, spread, from], { axis: 0, ...(add ? { reduction: 'add' } : {}) }, into.shape, into.dtype);
  // All updates may go to one row. If they are many, they are added in float64.
  if (!add || target.dtype !== 'float32' || n <= FEW) return scattered(target, updates);
  return g.cast(scattered(g.cast(target, 'float64'), g.cast(updates, 'float64')), 'float32');
}

/** Scatters into `target`. Indices are [N, D] and updates [N, …rest], or there is one index and one update. */
function scatterInto(k: KernelCall, target: Node, indexName: string, updates: Node, add: boolean): Node {
  const g = k.graph;
  const indices = g.cast(k.node(indexName), 'int32');
  const { sliceRank, numUpdates, sliceSize, outputSize } = tf.backend_util.calculateShapes(
    { shape: [...updates.shape], rank: updates.shape.length } as never,
    { shape: [...indices.shape], rank: indices.shape.length } as never,
    [...target.shape],
  );
  if (outputSize === 0 || numUpdates === 0 || sliceSize === 0) return target;
  const count = outputSize / sliceSize;
  const rows = checkedRows(k, g.reshape(indices, [numUpdates, sliceRank]), target.shape.slice(0, sliceRank));
  const spread = updates.shape.length === 0 ? g.expand(updates, [numUpdates, sliceSize]) : g.reshape(updates, [numUpdates, sliceSize]);
  return g.reshape(scatterRows(g, g.reshape(target, [count, sliceSize]), rows, spread, add), target.shape);
}

function scatterNd(k: KernelCall): Node {
  const raw = k.node('updates');
  const updates = numberOf(k.graph, raw);
  return k.graph.cast(scatterInto(k, k.graph.fill(0, k.attribute<number[]>('shape'), updates.dtype), 'indices', updates, true), raw.dtype);
}

function sparseToDense(k: KernelCall): Node {
  const g = k.graph;
  const values = k.node('sparseValues');
  const target = g.expand(g.cast(g.reshape(k.node('defaultValue'), []), values.dtype), k.attribute<number[]>('outputShape'));
  return scatterInto(k, target, 'sparseIndices', values, false);
}

function unsortedSegmentSum(k: KernelCall): Node {
  const g = k.graph;
  const x = numberOf(g, k.node('x'));
  const ids = g.cast(k.node('segmentIds'), 'int32');
  const count = k.attribute<number>('numSegments');
  const n = sizeOf(ids.shape);
  const rest = x.shape.slice(ids.shape.length);
  if (sizeOf(x.shape) === 0 || count === 0) return g.fill(0, [count, ...rest], x.dtype);
  // Rows with an id that is negative or too large are ignored: they are added to an extra row, which is cut off.
  const low = g.binary('Less', ids, g.scalar(0, 'int32'), 'bool');
  const safe = upTo(g, where(g, low, g.scalar(count, 'int32'), ids), count);
  const width = sizeOf(rest);
  const sums = scatterRows(g, g.fill(0, [count + 1, width], x.dtype), safe, g.reshape(x, [n, width]), true);
  return g.reshape(g.slice(sums, [0, 0], [count, width]), [count, ...rest]);
}

const upTo = (g: Graph, x: Node, count: number): Node => g.binary('Min', x, g.scalar(count, 'int32'));

/**
 * For each value from 0 to size - 1, the sum of the weights of the elements with this value (without weights, their number). Larger values
 * are ignored, negative ones are an error.
 */
function bincount(k: KernelCall): Node {
  const g = k.graph;
  const [x, weights] = [k.node('x'), k.node('weights')];
  const size = k.attribute<number>('size');
  // `DenseBincount` counts each row of a matrix separately.
  const rows = k.name === 'DenseBincount' && x.shape.length === 2 ? x.shape[0]! : 1;
  const shape = k.name === 'DenseBincount' && x.shape.length === 2 ? [rows, size] : [size];
  const n = sizeOf(x.shape);
  if (n === 0 || size === 0) return g.fill(0, shape, weights.dtype);
  const dtype = weights.dtype === 'bool' ? 'int32' : weights.dtype;
  const perRow = n / rows;
  // Each row of x has size + 1 counters. The last one is for values that are too large.
  const starts = g.constant(
    Int32Array.from({ length: rows }, (_, row) => row * (size + 1)),
    [rows, 1],
    'int32',
  );
  const values = g.cast(x, 'int32');
  if (values.data !== undefined) checkedIndices(k, values, Infinity);
  // A negative value was replaced by the largest int32. Adding the offset makes it negative again (modulo 2³²), so it stays out of range.
  const places = g.reshape(g.binary('Add', g.reshape(checkedIndices(k, upTo(g, values, size), size + 1), [rows, perRow]), starts), [n]);
  const binary = k.attribute<boolean | undefined>('binaryOutput') === true;
  const ones = binary || sizeOf(weights.shape) === 0;
  const given = ones ? g.fill(1, [n, 1], dtype) : g.reshape(g.cast(weights, dtype), [n, 1]);
  const sums = scatterRows(g, g.fill(0, [rows * (size + 1), 1], dtype), places, given, true);
  const counts = g.reshape(g.slice(g.reshape(sums, [rows, size + 1]), [0, 0], [rows, size]), shape);
  return g.cast(binary ? g.binary('Min', counts, g.scalar(1, dtype)) : counts, weights.dtype);
}

export const scatter: KernelTable = {
  ScatterNd: scatterNd,
  TensorScatterUpdate: (k) => {
    const tensor = k.node('tensor');
    return scatterInto(k, tensor, 'indices', k.graph.cast(k.node('updates'), tensor.dtype), false);
  },
  SparseToDense: sparseToDense,
  UnsortedSegmentSum: unsortedSegmentSum,
  Bincount: bincount,
  DenseBincount: bincount,
};
