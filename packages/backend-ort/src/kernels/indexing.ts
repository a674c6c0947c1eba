import { sizeOf, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { tf } from '../tf.ts';
import { commonType } from './binary.ts';
import { checkedIndices } from './bounds.ts';
import { numberOf, where } from './elementwise.ts';

/** Kernels that select elements by index. */

function gather(k: KernelCall): Node {
  const g = k.graph;
  const x = k.node('x');
  const given = g.cast(k.node('indices'), 'int32');
  const axis = tf.util.parseAxisParam(k.attribute<number>('axis'), [...x.shape])[0]!;
  const batchDims = k.attribute<number>('batchDims') ?? 0;
  tf.backend_util.segment_util.collectGatherOpShapeInfo(
    { shape: [...x.shape], rank: x.shape.length } as never,
    { shape: [...given.shape], rank: given.shape.length } as never,
    axis,
    batchDims,
  );
  const indices = checkedIndices(k, given, x.shape[axis]!, batchDims > 0);
  const shape = [...x.shape.slice(0, axis), ...indices.shape.slice(batchDims), ...x.shape.slice(axis + 1)];
  if (batchDims === 0) return g.add('Gather', [x, indices], { axis }, shape, x.dtype);
  // With batch axes: batch and gathered axis become one axis, and each batch gets an offset for its indices.
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
  const [x, indices] = [k.node('params'), g.cast(k.node('indices'), 'int32')];
  tf.backend_util.prepareAndValidate(
    { shape: [...x.shape], rank: x.shape.length } as never,
    { shape: [...indices.shape], rank: indices.shape.length, dtype: indices.dtype } as never,
  );
  const depth = indices.shape[indices.shape.length - 1]!;
  const shape = [...indices.shape.slice(0, -1), ...x.shape.slice(depth)];
  const checked = checkedIndices(k, indices, x.shape.slice(0, depth));
  return g.add('GatherND', [x, g.cast(checked, 'int64')], {}, shape, x.dtype);
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
  const dtype = commonType(t, e);
  // A condition of rank 1 selects whole rows.
  const rows = condition.shape.length === 1 && t.shape.length > 1;
  const mask = rows ? g.reshape(condition, [condition.shape[0]!, ...t.shape.slice(1).map(() => 1)]) : condition;
  return where(g, g.cast(mask, 'bool'), g.cast(t, dtype), g.cast(e, dtype));
}

function topK(k: KernelCall): Node[] {
  const g = k.graph;
  const raw = k.node('x');
  const x = numberOf(g, raw);
  const count = k.attribute<number>('k');
  const shape = [...x.shape.slice(0, -1), count];
  if (sizeOf(shape) === 0) return [g.fill(0, shape, raw.dtype), g.fill(0, shape, 'int32')];
  const [values, indices] = g.addMany('TopK', [x, g.int64([count])], { axis: -1, largest: 1, sorted: 1 }, [
    { shape, dtype: x.dtype },
    { shape, dtype: 'int64' },
  ]);
  return [g.cast(values!, raw.dtype), g.cast(indices!, 'int32')];
}

export const indexing: KernelTable = {
  GatherV2: gather,
  GatherNd: gatherNd,
  OneHot: oneHot,
  Select: select,
  TopK: topK,
};
