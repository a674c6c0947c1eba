import type { Graph, Node } from '../graph.ts';

/**
 * Weighted sums over lists of elements along one axis. The gradients of resizing and pooling use them as the transpose of a gather with
 * fixed indices. Each result gathers its own terms. So no two threads add to the same element, and the sum is the same at every run.
 */
export interface Contribution {
  from: number;
  weight: number;
}

/**
 * y[…, i, …] = Σ_k weight_ik x[…, from_ik, …] along `axis`. Shorter lists are filled up with an extra row of zeros. They are not filled up
 * with other elements at weight 0, because a NaN in such an element would reach results that do not use it.
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

/**
 * The lists of the transposed map. `lists` say which elements each result uses. The returned lists say which results use each of the `size`
 * elements.
 */
export function transposeContributions(lists: readonly (readonly Contribution[])[], size: number): Contribution[][] {
  const out = Array.from({ length: size }, (): Contribution[] => []);
  lists.forEach((list, to) => list.forEach(({ from, weight }) => out[from]!.push({ from: to, weight })));
  return out;
}
