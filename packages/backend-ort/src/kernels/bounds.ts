import { sizeOf, type Graph, type Node } from '../graph.ts';
import type { KernelCall } from '../kernel.ts';
import type { HostArray } from '../onnx.ts';
import { where } from './elementwise.ts';

/** An index larger than every axis. ONNX Runtime throws for it when it evaluates the graph. */
const NOWHERE = 2 ** 31 - 1;

/**
 * Returns `indices` so that evaluation throws for every index that is negative or at least `count`. A list has one count for each position
 * on the last axis. ONNX itself would count negative indices from the end. Indices with known values are checked here. Otherwise the graph
 * replaces negative indices by a number larger than every axis, for which ONNX Runtime throws. With `folded`, it also replaces indices that
 * are too large. This is needed if an offset into a longer axis is added later: without it, an index that is too large would read from the
 * next part of that axis.
 *
 * @throws Error with the first index that is out of range, if the values are known
 */
export function checkedIndices(k: KernelCall, indices: Node, count: number | readonly number[], folded = false): Node {
  const g = k.graph;
  if (refuseKnown(k, indices, count)) return indices;
  const outside = folded ? isOutside(g, indices, count) : g.binary('Less', indices, g.scalar(0, 'int32'), 'bool');
  return where(g, outside, g.scalar(NOWHERE, 'int32'), indices);
}

/**
 * The row numbers [N] that belong to the coordinates [N, D]. `counts` are the sizes of the D axes, and the last axis varies fastest. A
 * coordinate that is out of range on its own axis is an error, even if the row number that it gives exists.
 *
 * @throws Error with the first coordinate that is out of range, if the values are known
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

/** Checks indices with known values. Returns false if the values are not known yet. */
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

/** The values if they are known, also behind a reshape. */
function valuesOf(x: Node): HostArray | undefined {
  return x.op === 'Reshape' ? valuesOf(x.inputs[0]!) : x.data;
}
