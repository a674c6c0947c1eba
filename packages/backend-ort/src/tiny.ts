import { sizeOf, type Node } from './graph.ts';
import { nameOf, type Feeds } from './lower.ts';
import type { OnnxType } from './onnx.ts';
import type { HostValue } from './runtime.ts';

/**
 * Graphs of a few numbers, computed in JavaScript. A run of ONNX Runtime takes 10 to 30 µs, whatever it computes; a loop that reads a number after
 * every second operator waits for nothing else.
 *
 * Only operators are taken whose result IEEE 754 fixes to the last bit, so that it does not matter who computes: arithmetic, square root,
 * comparisons, logic, and moves of data. A sum, product or quotient of two float32 numbers, computed in float64 and then rounded to
 * float32, is the float32 result itself, and so is a square root. Exponentials, sums over axes and products of matrices depend on the library, and a
 * maximum of NaN too, so a graph with one of them is left to ONNX Runtime.
 */

/** Largest number of elements that all operators of a graph compute together. Above about this number, ONNX Runtime is faster. */
const MAX_ELEMENTS = 256;

type Numbers = Float32Array | Float64Array | Int32Array | Uint8Array;
/** Computes one value from others. The values of a graph lie in a list, in the order of its nodes. */
type Move = (values: Numbers[]) => void;

/** Operators of floats that act on each element. */
const unary: Readonly<Record<string, (a: number) => number>> = {
  Abs: Math.abs,
  Ceil: Math.ceil,
  Floor: Math.floor,
  Neg: (a) => -a,
  Sqrt: Math.sqrt,
};

const binary: Readonly<Record<string, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
  Equal: (a, b) => (a === b ? 1 : 0),
  Greater: (a, b) => (a > b ? 1 : 0),
  GreaterOrEqual: (a, b) => (a >= b ? 1 : 0),
  Less: (a, b) => (a < b ? 1 : 0),
  LessOrEqual: (a, b) => (a <= b ? 1 : 0),
  And: (a, b) => a & b,
  Or: (a, b) => a | b,
  Xor: (a, b) => a ^ b,
};

const OPERATORS = new Set(['Reshape', 'Expand', 'Not', 'Cast', 'Where', ...Object.keys(unary), ...Object.keys(binary)]);

const isFloat = (dtype: OnnxType): boolean => dtype === 'float32' || dtype === 'float64';

/** Runs like a session. */
export interface TinyGraph {
  run(feeds: Record<string, HostValue>, fetches: Record<string, HostValue>): void;
}

/** The graph in JavaScript, or null if it is not small, or has another operator. */
export function tinyGraph(order: readonly Node[], outputs: readonly Node[], isFed: Feeds): TinyGraph | null {
  const computed = order.filter((node) => !isFed(node) && node.data === undefined);
  if (computed.length === 0 || computed.reduce((sum, { shape }) => sum + sizeOf(shape), 0) > MAX_ELEMENTS) return null;
  const place = new Map(order.map((node, i) => [node, i]));
  const moves: Move[] = [];
  for (const node of computed) {
    const move = moveOf(node, place);
    if (move === null) return null;
    moves.push(move);
  }
  const fed = order.filter(isFed).filter(({ dtype }) => dtype !== 'int64').map((node) => ({ name: nameOf(place.get(node)!), at: place.get(node)! })); // prettier-ignore
  const wanted = outputs.map((node) => ({ name: nameOf(place.get(node)!), at: place.get(node)! }));
  const values = order.map((node) => (isFed(node) ? NOTHING : node.data === undefined ? scratch(node) : (node.data as Numbers)));
  return {
    run(feeds, fetches) {
      for (const { name, at } of fed) values[at] = feeds[name]!.data as Numbers;
      for (const { name, at } of wanted) values[at] = fetches[name]!.data as Numbers;
      for (const move of moves) move(values);
    },
  };
}

const NOTHING = new Float32Array(0);

function scratch({ dtype, shape }: Node): Numbers {
  const size = sizeOf(shape);
  return dtype === 'float32' ? new Float32Array(size) : dtype === 'float64' ? new Float64Array(size) : dtype === 'int32' ? new Int32Array(size) : new Uint8Array(size); // prettier-ignore
}

function moveOf(node: Node, place: ReadonlyMap<Node, number>): Move | null {
  const { op, domain, dtype, shape } = node;
  if (domain !== '' || dtype === 'int64' || !OPERATORS.has(op)) return null;
  const [first, second, third] = node.inputs as [Node, Node | undefined, Node | undefined];
  const out = place.get(node)!;
  const a = place.get(first)!;
  const size = sizeOf(shape);
  const from = indicesOf(first, shape);
  if (op === 'Reshape') return (values) => values[out]!.set(values[a]!);
  if (op === 'Expand') return (values) => each(size, values[out]!, (i) => values[a]![from[i]!]!);
  if (op === 'Not') return (values) => each(size, values[out]!, (i) => 1 - values[a]![i]!);
  // A number outside the range of an integer type has no fixed result.
  if (op === 'Cast') return !isFloat(dtype) || first.dtype === 'int64' ? null : (values) => values[out]!.set(values[a]!);
  if (op in unary) {
    const f = unary[op]!;
    return isFloat(dtype) ? (values) => each(size, values[out]!, (i) => f(values[a]![i]!)) : null;
  }
  if (second === undefined || [first, second].some((x) => x.dtype === 'int64')) return null;
  const b = place.get(second)!;
  const other = indicesOf(second, shape);
  // ONNX Runtime's choice between floats turns -0 into 0.
  if (op === 'Where' && isFloat(dtype)) return null;
  if (op === 'Where') {
    const c = place.get(third!)!;
    const last = indicesOf(third!, shape);
    return (values) => each(size, values[out]!, (i) => (values[a]![from[i]!] === 0 ? values[c]![last[i]!]! : values[b]![other[i]!]!));
  }
  // int32 products and quotients do not fit into float64.
  if ((op === 'Mul' || op === 'Div') && dtype === 'int32') return null;
  const f = binary[op]!;
  return (values) => {
    const [x, y, z] = [values[a]!, values[b]!, values[out]!];
    for (let i = 0; i < size; i++) z[i] = f(x[from[i]!]!, y[other[i]!]!);
  };
}

function each(size: number, out: Numbers, of: (i: number) => number): void {
  for (let i = 0; i < size; i++) out[i] = of(i);
}

/** Which element of an operand each element of the result reads. */
function indicesOf(operand: Node, shape: readonly number[]): Int32Array {
  const skipped = shape.length - operand.shape.length;
  const sizes = shape.map((_, axis) => operand.shape[axis - skipped] ?? 1);
  return Int32Array.from({ length: sizeOf(shape) }, (_, i) => {
    let [rest, step, at] = [i, 1, 0];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const position = rest % shape[axis]!;
      rest = (rest - position) / shape[axis]!;
      if (sizes[axis]! > 1) at += position * step;
      step *= sizes[axis]!;
    }
    return at;
  });
}
