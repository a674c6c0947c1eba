import { flattenTree, tf, treeMap, type Tensor, type Tree } from '@atelier/tensor';

/** Leaves up to this many elements are worked on together: below it an operation costs more than its elements. */
const SMALL = 4096;

/**
 * An element-wise rule on trees of one structure, leaf by leaf: `rule([a, b, …], path)` gives new tensors of the same shape, and the result is a tree of
 * each. Small leaves of the same `kind` are concatenated into one vector, so that hundreds of biases cost one operation each and not hundreds; `path`
 * is then that of any of them.
 */
export function mapElementWise(
  trees: readonly Tree[],
  rule: (leaves: Tensor[], path: string) => Tensor[],
  kind: (path: string) => string = () => '',
): Tree[] {
  // Refuses trees of another structure, or with a leaf of another shape, before anything is concatenated.
  treeMap(
    (leaf, path, ...others) => {
      const odd = others.find((other) => other.shape.join() !== leaf.shape.join());
      if (odd !== undefined) throw new Error(`mapElementWise: at '${path}' wanted shape [${leaf.shape}] in every tree, got [${odd.shape}]`);
      return leaf;
    },
    trees[0]!,
    ...trees.slice(1),
  );
  const flat = trees.map(flattenTree);
  const paths = Object.keys(flat[0]!);
  const results: Record<string, Tensor>[] = [];
  const put = (path: string, values: Tensor[]): void => values.forEach((value, i) => ((results[i] ??= {})[path] = value));
  const groups = new Map<string, string[]>();
  for (const path of paths) {
    if (flat[0]![path]!.size > SMALL)
      put(path, rule(flat.map((leaves) => leaves[path]!), path)); // prettier-ignore
    else groups.set(kind(path), [...(groups.get(kind(path)) ?? []), path]);
  }
  for (const members of groups.values()) {
    const sizes = members.map((path) => flat[0]![path]!.size);
    if (members.length === 1) {
      put(members[0]!, rule(flat.map((leaves) => leaves[members[0]!]!), members[0]!)); // prettier-ignore
      continue;
    }
    const concatenated = flat.map((leaves) => tf.concat(members.map((path) => tf.reshape(leaves[path]!, [-1])), 0)); // prettier-ignore
    const parts = rule(concatenated, members[0]!).map((vector) => tf.split(vector, sizes, 0));
    members.forEach((path, m) => put(path, parts.map((pieces) => tf.reshape(pieces[m]!, flat[0]![path]!.shape)))); // prettier-ignore
  }
  return results.map((leaves) => treeMap((_, path) => leaves[path]!, trees[0]!));
}
