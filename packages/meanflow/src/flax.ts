import { flattenTree, tf, unflattenTree, type Tensor, type Tree } from '@atelier/tensor';

/** How a parameter lies in a Flax checkpoint: linear kernels are [in, out], convolution kernels [h, w, in, out]; the rest is as in PyTorch. */
export type FlaxLayout = 'linear' | 'convolution' | 'same';
/** One row of a rename table: the path below `params/` in Flax, the dotted path of our tree, and the layout. */
export type FlaxName = { flax: string; path: string; layout: FlaxLayout };

/** Axes of the Flax tensor in our order, [out, in] and [out, in, h, w], and the way back. */
const toOurs = { linear: [1, 0], convolution: [3, 2, 0, 1] } as const;
const toFlaxAxes = { linear: [1, 0], convolution: [2, 3, 1, 0] } as const;

/**
 * A parameter tree from the tensors of a Flax checkpoint, by a rename table. New tensors; the given ones stay the caller's.
 *
 * @throws Error naming the first parameter that is missing, or the first one that the table does not know
 */
export function fromFlax(table: readonly FlaxName[], tensors: Readonly<Record<string, Tensor>>, where = 'fromFlax'): Tree {
  const known = new Set(table.map(({ flax }) => flax));
  for (const name of Object.keys(tensors))
    if (!known.has(name)) throw new Error(`${where}: wanted only parameters of this network, got '${name}'`);
  const leaves = table.map(({ flax, path, layout }) => {
    const tensor = tensors[flax];
    if (tensor === undefined)
      throw new Error(`${where}: wanted parameter '${flax}', got none of that name among ${Object.keys(tensors).length}`);
    return [path, layout === 'same' ? tf.clone(tensor) : tf.transpose(tensor, [...toOurs[layout]])] as const;
  });
  return unflattenTree(Object.fromEntries(leaves));
}

/** The way back: tensors under their Flax names and in Flax layout, of a parameter tree or of anything shaped like one (gradients, averages). */
export function toFlax(table: readonly FlaxName[], tree: Tree, where = 'toFlax'): Record<string, Tensor> {
  const leaves = flattenTree(tree);
  const known = new Set(table.map(({ path }) => path));
  for (const path of Object.keys(leaves))
    if (!known.has(path)) throw new Error(`${where}: wanted only parameters of this network, got '${path}'`);
  return Object.fromEntries(
    table.map(({ flax, path, layout }) => {
      const leaf = leaves[path];
      if (leaf === undefined) throw new Error(`${where}: wanted parameter '${path}', got none of that name`);
      return [flax, layout === 'same' ? tf.clone(leaf) : tf.transpose(leaf, [...toFlaxAxes[layout]])];
    }),
  );
}
