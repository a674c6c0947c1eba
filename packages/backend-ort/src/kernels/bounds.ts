import { sizeOf, type Graph, type Node } from '../graph.ts';
import type { KernelCall } from '../kernel.ts';
import type { HostArray } from '../onnx.ts';
import { where } from './elementwise.ts';

/** A number past every end: ONNX Runtime refuses it when it evaluates the graph. */
const NOWHERE = 2 ** 31 - 1;

/**
 * Indices from 0 below `count`; with a list, one count for each place along the last axis. ONNX counts negative indices from the end, which
 * TensorFlow.js does not: indices that are at hand are checked here, and of those that are still to be computed the negative ones are
 * turned into a number past every end, so that ONNX Runtime refuses them when it evaluates the graph. `folded` does so to the ones past the
 * end too, for indices that get an offset into a longer axis, where one too large would land in the next stretch.
 *
 * @throws Error with the first index that is out of range
 */
export function checkedIndices(k: KernelCall, indices: Node, count: number | readonly number[], folded = false): Node {
  const g = k.graph;
  if (refuseKnown(k, indices, count)) return indices;
  const outside = folded ? isOutside(g, indices, count) : g.binary('Less', indices, g.scalar(0, 'int32'), 'bool');
  return where(g, outside, g.scalar(NOWHERE, 'int32'), indices);
}

/**
 * The rows [N] that coordinates [N, D] name in a tensor of `counts` [D] rows, the last axis running fastest. One coordinate out of its own range
 * is refused, also where the row that it would lead to exists.
 *
 * @throws Error with the first coordinate that is out of range
 */
export function checkedRows(k: KernelCall, coordinates: Node, counts: readonly number[]): Node {
  const g = k.graph;
  const strides = Int32Array.from(counts, (_, axis) => sizeOf(counts.slice(axis + 1)));
  const weighted = g.binary('Mul', coordinates, g.constant(strides, [counts.length], 'int32'));
  const rows = g.reduce('ReduceSum', weighted, [1], false);
  if (refuseKnown(k, coordinates, counts)) return rows;
  const outside = g.reduce('ReduceMax', g.cast(isOutside(g, coordinates, counts), 'int32'), [1], false);
  return where(g, g.cast(outside, 'bool'), g.scalar(NOWHERE, 'int32'), rows);
}

function isOutside(g: Graph, indices: Node, count: number | readonly number[]): Node {
  const bound = typeof count === 'number' ? g.scalar(count, 'int32') : g.constant(Int32Array.from(count), [count.length], 'int32');
  return g.binary('Or', g.binary('Less', indices, g.scalar(0, 'int32'), 'bool'), g.binary('GreaterOrEqual', indices, bound, 'bool'));
}

/** Checks indices whose values are at hand; false where they are not. */
function refuseKnown(k: KernelCall, indices: Node, count: number | readonly number[]): boolean {
  const values = valuesOf(indices);
  if (values === undefined) return false;
  values.forEach((index: number | bigint, i: number) => {
    const below = typeof count === 'number' ? count : count[i % count.length]!;
    if (index >= 0 && index < below) return;
    const place = typeof count === 'number' ? '' : ` of axis ${i % count.length}`;
    throw new Error(`ort ${k.name}: the index value ${index} is not in [0, ${below - 1}]${place}`);
  });
  return true;
}

/** Values that are at hand, also below a change of shape. */
function valuesOf(x: Node): HostArray | undefined {
  return x.op === 'Reshape' ? valuesOf(x.inputs[0]!) : x.data;
}
