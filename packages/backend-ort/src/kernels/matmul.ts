import { broadcastShape, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { commonType } from './binary.ts';
import { exponentialLinear, sigmoid, where } from './elementwise.ts';
import { padded } from './shape.ts';

/** Matrix products. */

/** Swaps the last two axes. */
const transposed = (g: Graph, x: Node): Node => {
  const rank = x.shape.length;
  return g.transpose(x, [...x.shape.keys()].slice(0, -2).concat([rank - 1, rank - 2]));
};

/**
 * The input of a transposition of the last two axes, or null. The product can read this input as transposed, and the transposition is not
 * needed.
 */
function belowSwap(x: Node): Node | null {
  if (x.op !== 'Transpose') return null;
  const perm = x.attributes.perm as readonly number[];
  const rank = perm.length;
  const swaps = perm.every((axis, i) => axis === (i === rank - 1 ? rank - 2 : i === rank - 2 ? rank - 1 : i));
  return swaps ? x.inputs[0]! : null;
}

/**
 * Limits of the length of a product's inner axis. A longer axis is cut into blocks, and the products of the blocks are summed like every
 * other sum. For few results, ONNX Runtime adds the products one after the other, and from some thousand on digits are lost. For many
 * results it works in blocks itself, which allows longer axes.
 */
const FEW_RESULTS = { below: 4096, longest: 1024, block: 128 };
const MANY_RESULTS = { longest: 16_384, block: 4096 };

/** The blocks of an inner axis of length k, or null if it is short enough for one product. */
function blocksOf(k: number, results: number): { count: number; size: number } | null {
  const { longest, block } = results < FEW_RESULTS.below ? FEW_RESULTS : MANY_RESULTS;
  if (k <= longest) return null;
  for (let size = block; size >= block / 2; size--) if (k % size === 0) return { count: k / size, size };
  return { count: Math.ceil(k / block), size: block };
}

/**
 * Splits the inner axis (the last or the last but one) into an axis of blocks, before the last two axes, and an axis within a block. The
 * last block is padded with zeros.
 */
function parted(g: Graph, x: Node, isLast: boolean, { count, size }: { count: number; size: number }): Node {
  const rank = x.shape.length;
  const axis = isLast ? rank - 1 : rank - 2;
  const missing = count * size - x.shape[axis]!;
  const widths = x.shape.map((_, i) => (i === axis ? [0, missing] : [0, 0]));
  const full = padded(g, x, widths, 0);
  const split = g.reshape(full, [...full.shape.slice(0, axis), count, size, ...full.shape.slice(axis + 1)]);
  if (!isLast) return split;
  const front = [...x.shape.keys()].slice(0, rank - 2);
  return g.transpose(split, [...front, rank - 1, rank - 2, rank]);
}

/** Matrix product over the last two axes. The other axes are broadcast. */
export function matMul(g: Graph, a: Node, b: Node, transposeA: boolean, transposeB: boolean): Node {
  const fused = a.dtype === 'float32';
  for (let inner = belowSwap(a); inner !== null && fused; inner = belowSwap(a)) [a, transposeA] = [inner, !transposeA];
  for (let inner = belowSwap(b); inner !== null && fused; inner = belowSwap(b)) [b, transposeB] = [inner, !transposeB];
  const [ra, rb] = [a.shape.length, b.shape.length];
  const m = a.shape[transposeA ? ra - 1 : ra - 2]!;
  const k = a.shape[transposeA ? ra - 2 : ra - 1]!;
  const n = b.shape[transposeB ? rb - 2 : rb - 1]!;
  const rows = b.shape[transposeB ? rb - 1 : rb - 2];
  if (ra < 2 || rb < 2 || k !== rows) {
    throw new Error(
      `ort MatMul: wanted matrices whose inner sizes agree, got [${a.shape}]${transposeA ? ' transposed' : ''} and [${b.shape}]${transposeB ? ' transposed' : ''}`,
    );
  }
  const shape = [...broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2), 'MatMul'), m, n];
  if (k === 0) return g.fill(0, shape, a.dtype);
  const blocks = fused ? blocksOf(k, m * n) : null;
  if (blocks !== null) {
    const products = matMul(g, parted(g, a, !transposeA, blocks), parted(g, b, transposeB, blocks), transposeA, transposeB);
    return g.reduce('ReduceSum', products, [products.shape.length - 3], false);
  }
  if (!fused) return g.add('MatMul', [transposeA ? transposed(g, a) : a, transposeB ? transposed(g, b) : b], {}, shape, a.dtype);
  if (!transposeA && !transposeB) return g.add('MatMul', [a, b], {}, shape, a.dtype);
  const attributes = { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0 };
  return g.add('FusedMatMul', [a, b], attributes, shape, a.dtype, 'com.microsoft');
}

function operands(k: KernelCall): [Node, Node] {
  const g = k.graph;
  const [a, b] = [k.node('a'), k.node('b')];
  const dtype = a.dtype === 'float32' || b.dtype === 'float32' ? 'float32' : 'int32';
  return [g.cast(a, dtype), g.cast(b, dtype)];
}

const product = (k: KernelCall): Node =>
  matMul(k.graph, ...operands(k), k.attribute<boolean>('transposeA') ?? false, k.attribute<boolean>('transposeB') ?? false);

/** The activations that TensorFlow.js can combine with a product or convolution. */
export function activate(
  k: KernelCall,
  x: Node,
  slope: Node | null = k.has('preluActivationWeights') ? k.node('preluActivationWeights') : null,
): Node {
  const g = k.graph;
  const name = k.attribute<string | undefined>('activation') ?? 'linear';
  if (name === 'linear') return x;
  if (name === 'relu') return g.unary('Relu', x);
  if (name === 'relu6') return g.add('Clip', [x, g.scalar(0), g.scalar(6)], {}, x.shape, 'float32');
  if (name === 'elu') return exponentialLinear(g, x);
  if (name === 'sigmoid') return sigmoid(g, x);
  if (name === 'leakyrelu') return g.unary('LeakyRelu', x, 'float32', { alpha: { float: k.attribute<number>('leakyreluAlpha') } });
  if (name === 'prelu') return where(g, g.binary('Less', x, g.scalar(0), 'bool'), g.binary('Mul', x, slope!), x);
  throw k.refuse('activation linear, relu, relu6, elu, sigmoid, leakyrelu or prelu', name);
}

export const matmul: KernelTable = {
  BatchMatMul: (k) => k.graph.cast(product(k), commonType(k.node('a'), k.node('b'))),
  _FusedMatMul: (k) => {
    const g = k.graph;
    const raw = product(k);
    const biased = k.has('bias') ? g.binary('Add', raw, g.cast(k.node('bias'), raw.dtype)) : raw;
    const isWhole = ['linear', 'relu'].includes(k.attribute<string | undefined>('activation') ?? 'linear');
    return g.cast(activate(k, isWhole ? biased : g.cast(biased, 'float32')), commonType(k.node('a'), k.node('b')));
  },
};
