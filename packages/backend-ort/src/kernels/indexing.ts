import { sizeOf, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { tf } from '../tf.ts';
import { numberOf, where } from './elementwise.ts';

/** Kernels that pick elements by index, and the ones that put them back. */

function gather(k: KernelCall): Node {
  const g = k.graph;
  const x = k.node('x');
  const indices = g.cast(k.node('indices'), 'int32');
  const axis = tf.util.parseAxisParam(k.attribute<number>('axis'), [...x.shape])[0]!;
  const batchDims = k.attribute<number>('batchDims') ?? 0;
  tf.backend_util.segment_util.collectGatherOpShapeInfo(
    { shape: [...x.shape], rank: x.shape.length } as never,
    { shape: [...indices.shape], rank: indices.shape.length } as never,
    axis,
    batchDims,
  );
  const shape = [...x.shape.slice(0, axis), ...indices.shape.slice(batchDims), ...x.shape.slice(axis + 1)];
  if (batchDims === 0) return g.add('Gather', [x, indices], { axis }, shape, x.dtype);
  // Batched: the batch folded into the gathered axis, each row's indices moved to its own stretch.
  const batch = sizeOf(x.shape.slice(0, batchDims));
  const before = x.shape.slice(batchDims, axis);
  const count = x.shape[axis]!;
  const after = x.shape.slice(axis + 1);
  const perBatch = sizeOf(indices.shape.slice(batchDims));
  const front = g.reshape(x, [batch, sizeOf(before), count, sizeOf(after)]);
  const rows = g.reshape(g.transpose(front, [0, 2, 1, 3]), [batch * count, sizeOf(before) * sizeOf(after)]);
  const starts = g.constant(
    Int32Array.from({ length: batch }, (_, i) => i * count),
    [batch, 1],
    'int32',
  );
  const moved = g.binary('Add', g.reshape(indices, [batch, perBatch]), starts);
  const picked = g.add('Gather', [rows, moved], { axis: 0 }, [batch, perBatch, sizeOf(before) * sizeOf(after)], x.dtype);
  const parted = g.reshape(picked, [batch, perBatch, sizeOf(before), sizeOf(after)]);
  return g.reshape(g.transpose(parted, [0, 2, 1, 3]), shape);
}

function gatherNd(k: KernelCall): Node {
  const g = k.graph;
  const [x, indices] = [k.node('params'), k.node('indices')];
  tf.backend_util.prepareAndValidate(
    { shape: [...x.shape], rank: x.shape.length } as never,
    { shape: [...indices.shape], rank: indices.shape.length, dtype: indices.dtype } as never,
  );
  const depth = indices.shape[indices.shape.length - 1]!;
  const shape = [...indices.shape.slice(0, -1), ...x.shape.slice(depth)];
  return g.add('GatherND', [x, g.cast(indices, 'int64')], {}, shape, x.dtype);
}

/**
 * Sums rows of `updates` into the rows of a zero tensor that `rows` names. Scattering by element runs on one thread, in order, so that
 * rows named twice add up the same way every time.
 */
export function scatterRows(g: Graph, rows: Node, updates: Node, count: number): Node {
  const [n, width] = updates.shape as [number, number];
  const spread = g.expand(g.reshape(rows, [n, 1]), [n, width]);
  const zeros = g.fill(0, [count, width], updates.dtype);
  return g.add('ScatterElements', [zeros, spread, updates], { axis: 0, reduction: 'add' }, [count, width], updates.dtype);
}

function scatterNd(k: KernelCall): Node {
  const g = k.graph;
  const shape = k.attribute<number[]>('shape');
  const indices = g.cast(k.node('indices'), 'int32');
  const updates = numberOf(g, k.node('updates'));
  if (sizeOf(shape) === 0 || sizeOf(updates.shape) === 0) return g.fill(0, shape, updates.dtype);
  const depth = indices.shape.length < 2 ? 1 : indices.shape[indices.shape.length - 1]!;
  const strides = shape.slice(0, depth).map((_, i) => sizeOf(shape.slice(i + 1, depth)));
  const weighted = g.binary(
    'Mul',
    g.reshape(indices, [sizeOf(indices.shape) / depth, depth]),
    g.constant(Int32Array.from(strides), [depth], 'int32'),
  );
  const rows = g.reduce('ReduceSum', weighted, [1], false);
  const width = sizeOf(shape.slice(depth));
  return g.reshape(scatterRows(g, rows, g.reshape(updates, [sizeOf(updates.shape) / width, width]), sizeOf(shape.slice(0, depth))), shape);
}

function unsortedSegmentSum(k: KernelCall): Node {
  const g = k.graph;
  const x = numberOf(g, k.node('x'));
  const ids = g.cast(k.node('segmentIds'), 'int32');
  const count = k.attribute<number>('numSegments');
  const n = sizeOf(ids.shape);
  const rest = x.shape.slice(ids.shape.length);
  if (sizeOf(x.shape) === 0 || count === 0) return g.fill(0, [count, ...rest], x.dtype);
  // Ids below 0 or past the end drop their row: it goes to one row more, which is cut off.
  const low = g.binary('Less', ids, g.scalar(0, 'int32'), 'bool');
  const high = g.binary('GreaterOrEqual', ids, g.scalar(count, 'int32'), 'bool');
  const safe = where(g, g.binary('Or', low, high), g.scalar(count, 'int32'), ids);
  const width = sizeOf(rest);
  const sums = scatterRows(g, safe, g.reshape(x, [n, width]), count + 1);
  return g.reshape(g.slice(sums, [0, 0], [count, width]), [count, ...rest]);
}

function oneHot(k: KernelCall): Node {
  const g = k.graph;
  const indices = k.node('indices');
  const depth = k.attribute<number>('depth');
  const dtype = k.attribute<'float32' | 'int32' | 'bool'>('dtype') ?? 'float32';
  const range = g.constant(
    Int32Array.from({ length: depth }, (_, i) => i),
    [depth],
    'int32',
  );
  const hit = g.binary('Equal', g.reshape(g.cast(indices, 'int32'), [...indices.shape, 1]), range, 'bool');
  return where(g, hit, g.scalar(k.attribute<number>('onValue'), dtype), g.scalar(k.attribute<number>('offValue'), dtype));
}

function select(k: KernelCall): Node {
  const g = k.graph;
  const [condition, t, e] = [k.node('condition'), k.node('t'), k.node('e')];
  const dtype = t.dtype === 'float32' || e.dtype === 'float32' ? 'float32' : t.dtype;
  // A condition of rank 1 selects whole rows.
  const rows = condition.shape.length === 1 && t.shape.length > 1;
  const mask = rows ? g.reshape(condition, [condition.shape[0]!, ...t.shape.slice(1).map(() => 1)]) : condition;
  return where(g, g.cast(mask, 'bool'), g.cast(t, dtype), g.cast(e, dtype));
}

function topK(k: KernelCall): Node[] {
  const g = k.graph;
  const x = numberOf(g, k.node('x'));
  const count = k.attribute<number>('k');
  const shape = [...x.shape.slice(0, -1), count];
  if (sizeOf(shape) === 0) return [g.fill(0, shape, x.dtype), g.fill(0, shape, 'int32')];
  const [values, indices] = g.addMany('TopK', [x, g.int64([count])], { axis: -1, largest: 1, sorted: 1 }, [
    { shape, dtype: x.dtype },
    { shape, dtype: 'int64' },
  ]);
  return [values!, g.cast(indices!, 'int32')];
}

export const indexing: KernelTable = {
  GatherV2: gather,
  GatherNd: gatherNd,
  ScatterNd: scatterNd,
  UnsortedSegmentSum: unsortedSegmentSum,
  OneHot: oneHot,
  Select: select,
  TopK: topK,
};
