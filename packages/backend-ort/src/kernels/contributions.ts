import type { Graph, Node } from '../graph.ts';

/**
 * Sums over lists of elements along one axis: the transposed form of a gather with fixed indices, for gradients of resizing and pooling.
 * Each result gathers what belongs to it, so no two threads add to one element and the sum is the same at every run.
 */
export interface Contribution {
  from: number;
  weight: number;
}

/**
 * y[…, i, …] = Σ_k weight_ik x[…, from_ik, …] along `axis`. Lists shorter than the longest are filled up with a row of zeros, not with a zero
 * weight, so that a NaN in x reaches only the results that it belongs to.
 */
export function sumContributions(g: Graph, x: Node, axis: number, lists: readonly (readonly Contribution[])[]): Node {
  const longest = Math.max(...lists.map((list) => list.length));
  const shape = x.shape.map((n, i) => (i === axis ? lists.length : n));
  if (longest === 0) return g.fill(0, shape, x.dtype);
  const size = x.shape[axis]!;
  const filled = lists.map((list) => [...list, ...Array.from({ length: longest - list.length }, () => ({ from: size, weight: 1 }))]).flat();
  const identity = longest === 1 && size === lists.length && filled.every(({ from, weight }, i) => from === i && weight === 1);
  if (identity) return x;
  const needsZeros = filled.some(({ from }) => from === size);
  const source = needsZeros
    ? g.concat(
        [
          x,
          g.fill(
            0,
            x.shape.map((n, i) => (i === axis ? 1 : n)),
            x.dtype,
          ),
        ],
        axis,
      )
    : x;
  const gathered = g.add(
    'Gather',
    [source, g.int64(filled.map(({ from }) => from))],
    { axis },
    shape.map((n, i) => (i === axis ? filled.length : n)),
    x.dtype,
  );
  const after = shape.slice(axis + 1);
  const parted = g.reshape(gathered, [...shape.slice(0, axis), lists.length, longest, ...after]);
  const weights = filled.map(({ weight }) => weight);
  const weighted = weights.every((w) => w === 1)
    ? parted
    : g.binary('Mul', parted, g.constant(Float32Array.from(weights), [lists.length, longest, ...after.map(() => 1)], 'float32'));
  return g.reduce('ReduceSum', weighted, [axis + 1], false);
}

/** The lists of the transposed map: who takes part in `size` elements, given what each result takes. */
export function transposeContributions(lists: readonly (readonly Contribution[])[], size: number): Contribution[][] {
  const out = Array.from({ length: size }, (): Contribution[] => []);
  lists.forEach((list, to) => list.forEach(({ from, weight }) => out[from]!.push({ from: to, weight })));
  return out;
}
