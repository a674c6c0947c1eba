import { sizeOf, type Graph, type Node } from './graph.ts';

/**
 * Sums with a bounded error for any length. A sum of n float32 numbers, added one after the other, loses one more digit each time n grows
 * tenfold. Here no float32 sum has more than `RUN` additions one after the other, and the results of these short sums are added in float64.
 * So the error is at most 16 · 2⁻²⁴ + 2⁻²⁴ of Σ|x|, about 1e-6, and usually below 1e-7.
 */

/** Number of terms that are added one after the other in float32. */
const RUN = 16;
/**
 * Number of terms in a block of a contiguous row. ONNX Runtime adds such a block as eight interleaved sums: eight additions each, and three
 * to join them.
 */
const ROW = 64;
/** A row of at most this length is summed by one operator: 12 additions in each of the eight sums, and the additions that join them. */
const WHOLE_ROW = 96;
/** With shorter blocks, too many results would be left for the float64 sum. Then it is cheaper to sum the rest of the axis separately. */
const SHORTEST = RUN / 2;

/** Neighbouring axes, combined into one: either all are kept, or all are summed. */
interface Group {
  size: number;
  folded: boolean;
}

function groupsOf(shape: readonly number[], axes: readonly number[]): Group[] {
  const groups: Group[] = [];
  shape.forEach((size, axis) => {
    if (size === 1) return;
    const folded = axes.includes(axis);
    const last = groups.at(-1);
    if (last?.folded === folded) last.size *= size;
    else groups.push({ size, folded });
  });
  return groups;
}

/**
 * Σ x, or the mean, over some axes of a float32 tensor. `shape` is the shape of the result.
 *
 * Measurements chose the fastest form. Rows are summed in blocks of 64 by ReduceSum. A column axis is cut into 16 parts of long rows, and a
 * product with a row of ones adds these. In a batch, ReduceSum does the same.
 */
export function floatSum(g: Graph, x: Node, axes: readonly number[], shape: readonly number[], mean: boolean): Node {
  const groups = groupsOf(x.shape, axes);
  const folded = groups.filter((group) => group.folded);
  const count = folded.reduce((product, { size }) => product * size, 1);
  const isRow = groups.at(-1)!.folded;
  if (count <= RUN || (isRow && folded.length === 1 && count <= WHOLE_ROW))
    return plain(g, mean ? 'ReduceMean' : 'ReduceSum', x, axes, shape);
  const sizes = groups.map(({ size }) => size);
  const longest = isRow && groups.at(-1)!.size >= RUN ? groups.at(-1)! : folded.reduce((a, b) => (b.size > a.size ? b : a));
  const at = groups.indexOf(longest);
  const foldedAxes = groups.flatMap((group, axis) => (group.folded ? [axis] : []));
  const wide = shortSums(g, g.reshape(x, sizes), at).map((part) => {
    const kept = groups.flatMap(({ size, folded: gone }) => (gone ? [] : [size]));
    return plain(g, 'ReduceSum', g.cast(part, 'float64'), foldedAxes, kept);
  });
  const sum = wide.reduce((a, b) => g.binary('Add', a, b, 'float64'));
  const result = mean ? g.binary('Div', sum, g.cast(g.scalar(count, 'int32'), 'float64'), 'float64') : sum;
  return g.reshape(g.cast(result, 'float32'), shape);
}

/** Tensors that are many times shorter along axis `at`. Their sums over this axis add up to the sum of x. */
function shortSums(g: Graph, x: Node, at: number): Node[] {
  const size = x.shape[at]!;
  const isRow = at === x.shape.length - 1;
  const block = blockOf(size, isRow);
  if (block !== null) return [sumOfBlocks(g, x, at, block)];
  const longest = isRow ? ROW : RUN;
  const main = size - (size % longest);
  const cut = (from: number, to: number): Node =>
    g.slice(
      x,
      x.shape.map((_, axis) => (axis === at ? from : 0)),
      x.shape.map((full, axis) => (axis === at ? to - from : full)),
    );
  return [...(main === 0 ? [] : [sumOfBlocks(g, cut(0, main), at, longest)]), sumOfBlocks(g, cut(main, size), at, size - main)];
}

/** The longest block length that divides `size`, or null if all of them are short. */
function blockOf(size: number, isRow: boolean): number | null {
  if (isRow && size <= WHOLE_ROW) return size;
  for (let block = Math.min(size, isRow ? ROW : RUN); block >= SHORTEST; block--) if (size % block === 0) return block;
  return size < SHORTEST ? size : null;
}

/**
 * Sums of blocks along axis `at`. In a row, the terms of a block are neighbours. Along any other axis they are far apart, so that long rows
 * are added to each other.
 */
function sumOfBlocks(g: Graph, x: Node, at: number, block: number): Node {
  const blocks = x.shape[at]! / block;
  const before = x.shape.slice(0, at);
  const after = x.shape.slice(at + 1);
  const shape = x.shape.map((size, axis) => (axis === at ? blocks : size));
  if (after.length === 0) {
    const rows = g.reshape(x, [...before, blocks, block]);
    return plain(g, 'ReduceSum', rows, [rows.shape.length - 1], shape);
  }
  const width = blocks * sizeOf(after);
  const count = sizeOf(before);
  if (count > 1) return g.reshape(plain(g, 'ReduceSum', g.reshape(x, [count, block, width]), [1], [count, width]), shape);
  const ones = g.constant(new Float32Array(block).fill(1), [1, block], 'float32');
  return g.reshape(g.add('MatMul', [ones, g.reshape(x, [block, width])], {}, [1, width], 'float32'), shape);
}

/** Whether a product is only a sum: a row of ones times a matrix. */
export function isSum({ inputs: [left] }: Node): boolean {
  return left?.op === 'Constant' && left.shape.length === 2 && left.shape[0] === 1 && left.data!.every((value) => value === 1);
}

/** Σ or ∏ of whole numbers, computed modulo 2³². ONNX Runtime's own operators stop at the largest int32 instead. */
export function wholeFold(g: Graph, op: string, x: Node, axes: readonly number[], shape: readonly number[]): Node {
  return g.cast(plain(g, op, g.cast(x, 'int64'), axes, shape), 'int32');
}

/** A reduction as one ONNX operator. */
function plain(g: Graph, op: string, x: Node, axes: readonly number[], shape: readonly number[]): Node {
  return g.add(op, [x, g.int64(axes)], { keepdims: x.shape.length === shape.length ? 1 : 0 }, shape, x.dtype);
}
