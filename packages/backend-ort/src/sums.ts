import { sizeOf, type Graph, type Node } from './graph.ts';

/**
 * Sums with a bound on their error at any length. One running float32 sum loses a digit for every ten times as many terms; here no float32
 * sum has more than `RUN` additions one after the other, and what such short sums leave is added in float64. So the error is at most
 * 16 · 2⁻²⁴ + 2⁻²⁴ of Σ|x|, about 1e-6, and usually below 1e-7.
 */

/** Terms that are added one after the other in float32. */
const RUN = 16;
/** Terms of a contiguous row, which ONNX Runtime adds in eight interleaved runs: eight additions each, and three to join them. */
const ROW = 64;
/** A row up to here is one operator: 12 additions in a run, and the join. */
const WHOLE_ROW = 96;
/** Shorter blocks would leave so much to the float64 sum that cutting off a rest is cheaper. */
const SHORTEST = RUN / 2;

/** Neighbouring axes that are all kept or all folded, as one. */
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
 * Σ x, or the mean, over some axes of a float32 tensor; `shape` is the result's.
 *
 * Which form is the fastest was measured: rows in blocks of 64 by ReduceSum; columns as 16 long rows, which a row of ones times them adds up; in
 * a batch the same by ReduceSum.
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

/** Tensors whose sums over axis `at` add up to that of x, and which are many times shorter along it. */
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

/** The longest length of a block that divides `size`; null where that is short. */
function blockOf(size: number, isRow: boolean): number | null {
  if (isRow && size <= WHOLE_ROW) return size;
  for (let block = Math.min(size, isRow ? ROW : RUN); block >= SHORTEST; block--) if (size % block === 0) return block;
  return size < SHORTEST ? size : null;
}

/** Σ over blocks of axis `at`: next to each other in a row, and else so far apart that long rows are added to each other. */
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

/** Whether a product is a sum in truth: a row of ones times a matrix. */
export function isSum({ inputs: [left] }: Node): boolean {
  return left?.op === 'Constant' && left.shape.length === 2 && left.shape[0] === 1 && left.data!.every((value) => value === 1);
}

/** Σ or ∏ of whole numbers, which wraps at 32 bits; ONNX Runtime's own stops at the largest. */
export function wholeFold(g: Graph, op: string, x: Node, axes: readonly number[], shape: readonly number[]): Node {
  return g.cast(plain(g, op, g.cast(x, 'int64'), axes, shape), 'int32');
}

/** One ONNX operator. */
function plain(g: Graph, op: string, x: Node, axes: readonly number[], shape: readonly number[]): Node {
  return g.add(op, [x, g.int64(axes)], { keepdims: x.shape.length === shape.length ? 1 : 0 }, shape, x.dtype);
}
