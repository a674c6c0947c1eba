import type { Node } from '../graph.ts';
import type { KernelCall } from '../kernel.ts';
import { where } from './elementwise.ts';

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
  if (indices.data === undefined) {
    const low = g.binary('Less', indices, g.scalar(0, 'int32'), 'bool');
    const outside = folded ? g.binary('Or', low, g.binary('GreaterOrEqual', indices, g.scalar(count as number, 'int32'), 'bool')) : low;
    return where(g, outside, g.scalar(2 ** 31 - 1, 'int32'), indices);
  }
  indices.data.forEach((index: number | bigint, i: number) => {
    const below = typeof count === 'number' ? count : count[i % count.length]!;
    if (index < 0 || index >= below) {
      throw new Error(`ort ${k.name}: the index value ${index} is not in [0, ${below - 1}]`);
    }
  });
  return indices;
}
