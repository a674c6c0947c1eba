import { LAYOUT_AXES, type Layout, type LoadOptions } from '@atelier/nn';
import { flattenTree, tf, type Tensor, type Tree } from '@atelier/tensor';

/** One row of a rename table: the path below `params/` in Flax, the dotted path of our tree, and the layout. */
export type FlaxName = { flax: string; path: string; layout: Layout };

/** A rename table as `loadParameters` takes it. */
export function flaxNames(table: readonly FlaxName[]): LoadOptions {
  const rows = new Map(table.map((row) => [row.path, row]));
  return { rename: (name) => rows.get(name)!.flax, layout: (name) => rows.get(name)!.layout };
}

/** The opposite direction: the tensors of a parameter tree (or of gradients or averages) under their Flax names and in Flax layout. */
export function toFlax(table: readonly FlaxName[], tree: Tree, where = 'toFlax'): Record<string, Tensor> {
  const leaves = flattenTree(tree);
  const known = new Set(table.map(({ path }) => path));
  for (const path of Object.keys(leaves))
    if (!known.has(path)) throw new Error(`${where}: wanted only parameters of this network, got '${path}'`);
  return Object.fromEntries(
    table.map(({ flax, path, layout }) => {
      const leaf = leaves[path];
      if (leaf === undefined) throw new Error(`${where}: wanted parameter '${path}', got none of that name`);
      return [flax, layout === 'same' ? tf.clone(leaf) : tf.transpose(leaf, inverse(LAYOUT_AXES[layout]))];
    }),
  );
}

const inverse = (axes: readonly number[]): number[] => axes.map((_, axis) => axes.indexOf(axis));
