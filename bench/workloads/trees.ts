import { tf, toHostTree, treeMap, type Rng, type Tree } from '@atelier/tensor';

/** The same leaves once more: a state that a step may dispose. */
export const copyOf = <T extends Tree>(tree: T): T => treeMap((leaf) => leaf.clone(), tree);

/** Adds noise to every weight, so that no two networks are equal and every part has an effect. */
export const moved = <T extends Tree>(tree: T, rng: Rng, by: number): T =>
  treeMap((leaf, path) => tf.tidy(() => tf.add(leaf, tf.mul(rng.child(path).normal(leaf.shape), by))), tree);

/** Σ x² over all leaves: a number by which a peer's state is checked. */
export const sumOfSquares = async (tree: Tree): Promise<number> =>
  Object.values(await toHostTree(tree)).reduce((sum, { data }) => sum + Array.from(data as Float32Array).reduce((a, b) => a + b * b, 0), 0);
