import { sizeOf, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import type { OnnxType } from '../onnx.ts';
import { tf } from '../tf.ts';
import { numberOf, where } from './elementwise.ts';

/** Kernels that reduce axes or run along them: sums, maximum and minimum, cumulative sums and products, softmax. */

function axesOf(k: KernelCall, rank: number, name = 'axis'): number[] {
  const wanted = k.attribute<number | number[]>(name);
  return tf.util.parseAxisParam(wanted, new Array<number>(rank).fill(1)).sort((a, b) => a - b);
}

/** The axes to reduce. If the attribute is missing, these are all axes. */
function reduceAxes(k: KernelCall, x: Node): number[] {
  const name = k.name === 'Max' ? 'reductionIndices' : 'axis';
  const axis = k.attribute<number | number[] | null | undefined>(name);
  return axis === undefined || axis === null ? x.shape.map((_, i) => i) : axesOf(k, x.shape.length, name);
}

/** A reduction. `empty` is its value for no elements. */
function reduction(op: string, empty: number, to?: (x: Node) => OnnxType) {
  return (k: KernelCall): Node => {
    const g = k.graph;
    const raw = numberOf(g, k.node('x'));
    const x = to === undefined ? raw : g.cast(raw, to(raw));
    const axes = reduceAxes(k, x);
    const keepDims = k.attribute<boolean>('keepDims') ?? false;
    if (x.shape.includes(0)) {
      const shape = keepDims ? x.shape.map((s, i) => (axes.includes(i) ? 1 : s)) : x.shape.filter((_, i) => !axes.includes(i));
      return g.fill(empty, shape, x.dtype);
    }
    return g.reduce(op, x, axes, keepDims);
  };
}

/** Maximum or minimum. It is NaN if one element is NaN, as in TensorFlow.js; ONNX Runtime ignores NaN. */
function extreme(op: string, empty: number) {
  const fold = reduction(op, empty);
  return (k: KernelCall): Node => {
    const g = k.graph;
    const x = k.node('x');
    const folded = g.cast(fold(k), x.dtype);
    if (x.dtype !== 'float32' || x.shape.includes(0)) return folded;
    const hasNaN = g.reduce(
      'ReduceMax',
      g.cast(g.unary('IsNaN', x, 'bool'), 'int32'),
      reduceAxes(k, x),
      k.attribute<boolean>('keepDims') ?? false,
    );
    return where(g, g.cast(hasNaN, 'bool'), g.scalar(NaN), folded);
  };
}

function logical(op: string, empty: number) {
  const fold = reduction(op, empty, () => 'int32');
  return (k: KernelCall): Node => k.graph.cast(fold(k), 'bool');
}

function argument(op: string) {
  return (k: KernelCall): Node => {
    const g = k.graph;
    const raw = numberOf(g, k.node('x'));
    // NaN is never the largest or smallest element.
    const worst = g.scalar(op === 'ArgMax' ? -Infinity : Infinity);
    const x = raw.dtype === 'float32' ? where(g, g.unary('IsNaN', raw, 'bool'), worst, raw) : raw;
    const [axis] = axesOf(k, x.shape.length);
    const shape = x.shape.filter((_, i) => i !== axis);
    if (x.shape[axis!] === 0 && !shape.includes(0)) throw k.refuse('at least one element along the axis', `shape [${x.shape}]`);
    return g.cast(g.add(op, [x], { axis: axis!, keepdims: 0 }, shape, 'int64'), 'int32');
  };
}

/**
 * Cumulative sum. Floats are added in float64, so that the last sum is as exact as the first. A scalar has no axis; it gives 0 (and 1 in a
 * product), as on `cpu`.
 */
function cumulative(k: KernelCall): Node {
  const g = k.graph;
  const x = numberOf(g, k.node('x'));
  if (x.shape.length === 0) return g.scalar(0, x.dtype);
  const [axis] = axesOf(k, x.shape.length);
  const flag = (name: string): number => (k.attribute<boolean>(name) ? 1 : 0);
  const wide = x.dtype === 'float32' ? g.cast(x, 'float64') : x;
  const inputs = [wide, g.constant(BigInt64Array.of(BigInt(axis!)), [], 'int64')];
  return g.cast(g.add('CumSum', inputs, { exclusive: flag('exclusive'), reverse: flag('reverse') }, x.shape, wide.dtype), x.dtype);
}

/** Cumulative product by doubling. After step s, each element is the product of itself and up to 2^s - 1 elements before it. */
function cumulativeProduct(k: KernelCall): Node {
  const g = k.graph;
  let x = numberOf(g, k.node('x'));
  if (x.shape.length === 0) return g.scalar(1, x.dtype);
  const [axis] = axesOf(k, x.shape.length) as [number];
  const length = x.shape[axis]!;
  const reverse = k.attribute<boolean>('reverse');
  const shift = (v: Node, by: number): Node => {
    const size = v.shape.map((s, i) => (i === axis ? length - by : s));
    const begin = v.shape.map((_, i) => (i === axis && reverse ? by : 0));
    const ones = g.fill(
      1,
      v.shape.map((s, i) => (i === axis ? by : s)),
      v.dtype,
    );
    const kept = g.slice(v, begin, size);
    return g.concat(reverse ? [kept, ones] : [ones, kept], axis);
  };
  if (sizeOf(x.shape) === 0) return x;
  if (k.attribute<boolean>('exclusive')) x = shift(x, 1);
  for (let by = 1; by < length; by *= 2) x = g.binary('Mul', x, shift(x, by));
  return x;
}

/** A longer row is summed in blocks, because ONNX Runtime's operator adds the exponentials one after the other. */
const LONG_ROW = 32_768;

/** Softmax over one axis. */
function softmax(k: KernelCall, op: 'Softmax' | 'LogSoftmax', dim: number): Node {
  const g = k.graph;
  const x = g.cast(k.node('logits'), 'float32');
  const axis = dim < 0 ? dim + x.shape.length : dim;
  if ((x.shape[axis] ?? 0) <= LONG_ROW) return g.add(op, [x], { axis }, x.shape, 'float32');
  const centred = g.binary('Sub', x, g.reduce('ReduceMax', x, [axis], true));
  const powers = g.unary('Exp', centred);
  const sum = g.reduce('ReduceSum', powers, [axis], true);
  return op === 'Softmax' ? g.binary('Div', powers, sum) : g.binary('Sub', centred, g.unary('Log', sum));
}

export const reduce: KernelTable = {
  Sum: reduction('ReduceSum', 0),
  Mean: reduction('ReduceMean', NaN, () => 'float32'),
  Max: extreme('ReduceMax', -Infinity),
  Min: extreme('ReduceMin', Infinity),
  Prod: reduction('ReduceProd', 1),
  All: logical('ReduceMin', 1),
  Any: logical('ReduceMax', 0),
  ArgMax: argument('ArgMax'),
  ArgMin: argument('ArgMin'),
  Cumsum: cumulative,
  Cumprod: cumulativeProduct,
  Softmax: (k) => softmax(k, 'Softmax', k.attribute<number>('dim')),
  LogSoftmax: (k) => softmax(k, 'LogSoftmax', k.attribute<number>('axis')),
};
