import { sizeOf, type Graph, type Node } from '../graph.ts';
import type { KernelCall, KernelTable } from '../kernel.ts';
import { tf } from '../tf.ts';
import { numberOf } from './elementwise.ts';
import { matMul } from './matmul.ts';

/** Sums of products over named axes. If two tensors share a summed axis, they are computed as one matrix product. */

interface Term {
  node: Node;
  /** The label of each axis. */
  labels: number[];
}

const sizes = (term: Term, labels: readonly number[]): number[] => labels.map((label) => term.node.shape[term.labels.indexOf(label)]!);

/** The term with its axes in the given order. */
const ordered = (g: Graph, term: Term, labels: readonly number[]): Node =>
  g.transpose(
    term.node,
    labels.map((label) => term.labels.indexOf(label)),
  );

/** Sums over the axes that occur neither in the result nor in another term. */
function withoutLone(g: Graph, term: Term, needed: ReadonlySet<number>): Term {
  const lone = term.labels.flatMap((label, axis) => (needed.has(label) ? [] : [axis]));
  if (lone.length === 0) return term;
  return { node: g.reduce('ReduceSum', term.node, lone, false), labels: term.labels.filter((label) => needed.has(label)) };
}

function product(g: Graph, a: Term, b: Term, kept: ReadonlySet<number>): Term {
  const shared = a.labels.filter((label) => b.labels.includes(label));
  const batch = shared.filter((label) => kept.has(label));
  const summed = shared.filter((label) => !kept.has(label));
  const rows = a.labels.filter((label) => !shared.includes(label));
  const columns = b.labels.filter((label) => !shared.includes(label));
  const [batchSizes, rowSizes, columnSizes] = [sizes(a, batch), sizes(a, rows), sizes(b, columns)];
  const depth = sizeOf(sizes(a, summed));
  const labels = [...batch, ...rows, ...columns];
  const shape = [...batchSizes, ...rowSizes, ...columnSizes];
  if (summed.length === 0) {
    const left = g.reshape(ordered(g, a, [...batch, ...rows]), [...batchSizes, ...rowSizes, ...columnSizes.map(() => 1)]);
    const right = g.reshape(ordered(g, b, [...batch, ...columns]), [...batchSizes, ...rowSizes.map(() => 1), ...columnSizes]);
    return { node: g.binary('Mul', left, right), labels };
  }
  const left = g.reshape(ordered(g, a, [...batch, ...rows, ...summed]), [sizeOf(batchSizes), sizeOf(rowSizes), depth]);
  const right = g.reshape(ordered(g, b, [...batch, ...summed, ...columns]), [sizeOf(batchSizes), depth, sizeOf(columnSizes)]);
  return { node: g.reshape(matMul(g, left, right, false, false), shape), labels };
}

function einsum(k: KernelCall): Node {
  const g = k.graph;
  const nodes = k.list().map((x) => numberOf(g, x));
  const dtype = nodes.some((x) => x.dtype === 'float32') ? 'float32' : 'int32';
  const equation = k.attribute<string>('equation');
  const { allDims, idDims } = tf.backend_util.decodeEinsumEquation(equation, nodes.length);
  tf.backend_util.checkEinsumDimSizes(allDims.length, idDims, nodes as never);
  const result = [...equation.replaceAll(/\s/g, '').split('->')[1]!].map((name) => allDims.indexOf(name));
  const kept = new Set(result);
  const terms = nodes.map((node, i): Term => {
    const others = idDims.flatMap((labels, j) => (j === i ? [] : labels));
    return withoutLone(g, { node: g.cast(node, dtype), labels: idDims[i]! }, new Set([...result, ...others]));
  });
  return ordered(g, terms.length === 1 ? terms[0]! : product(g, terms[0]!, terms[1]!, kept), result);
}

export const einsums: KernelTable = { Einsum: einsum };
