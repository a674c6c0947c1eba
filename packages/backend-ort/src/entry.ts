import { emptyArray, sizeOf, type Graph, type Node } from './graph.ts';
import type { OnnxType } from './onnx.ts';

/** A tensor that repeats 0 or 1. It has no array until something reads one. */
export interface Fill {
  value: 0 | 1;
  shape: readonly number[];
  dtype: OnnxType;
}

/**
 * A data id of this backend: what belongs to the tensors that share it. That is strings, or a repeated number, or one node (and a second one for
 * the imaginary part of a complex tensor), or a result of a replayed call that has no node yet. Strings are never part of a graph.
 */
export class Entry {
  /** The backend that made it. Another backend may have taken the data over. */
  readonly home: object;
  node: Node | null = null;
  imag: Node | null = null;
  strings: Uint8Array[] | null = null;
  fill: Fill | null = null;
  /** Number of tensors. At 0 the data is gone. */
  refCount = 1;
  /** The path on which this is a result or a repeated number (see `calls.ts`), and its number there. */
  epoch = 0;
  slot = 0;

  constructor(home: object) {
    this.home = home;
  }
}

/** Gives a repeated number its array. */
export function spread(graph: Graph, entry: Entry, { value, shape, dtype }: Fill): void {
  const data = emptyArray(dtype, sizeOf(shape));
  entry.fill = null;
  entry.node = graph.leaf(value === 0 ? data : (data as Float32Array).fill(value), shape, dtype);
  entry.node.owners++;
}

/** A data id for a node that no tensor may hold any more. No backend counts it. */
export function holding(home: object, node: Node): Entry {
  const entry = new Entry(home);
  entry.node = node;
  return entry;
}
