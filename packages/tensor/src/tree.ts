import { tf, type Tensor } from './tf.ts';

/** A nested record or list of tensors; parameters, gradients, optimizer state and averages are all trees. */
export type Tree = Tensor | readonly Tree[] | { readonly [name: string]: Tree };

export function isTensor(value: unknown): value is Tensor {
  return value instanceof tf.Tensor;
}

/** Applies `f` to every leaf; `rest` are trees of the same structure whose leaves are passed along. Paths are joined by dots. */
export function treeMap<T extends Tree>(f: (leaf: Tensor, path: string, ...rest: Tensor[]) => Tensor, tree: T, ...rest: Tree[]): T {
  const visit = (node: Tree, others: Tree[], path: string): Tree => {
    if (isTensor(node)) {
      for (const other of others)
        if (!isTensor(other)) throw new Error(`treeMap: at '${path}' wanted a tensor in every tree, got ${describe(other)}`);
      return f(node, path, ...(others as Tensor[]));
    }
    if (node === null || typeof node !== 'object')
      throw new Error(`treeMap: at '${path}' wanted a tensor, list or record, got ${describe(node)}`);
    const child = (other: Tree, key: string): Tree => {
      const value = other === undefined || other === null ? undefined : (other as Record<string, Tree>)[key];
      if (value === undefined) throw new Error(`treeMap: '${join(path, key)}' is missing in one of the trees`);
      return value;
    };
    if (Array.isArray(node))
      return node.map((item: Tree, i) =>
        visit(
          item,
          others.map((o) => child(o, String(i))),
          join(path, String(i)),
        ),
      );
    const out: Record<string, Tree> = {};
    for (const key of Object.keys(node))
      out[key] = visit(
        (node as Record<string, Tree>)[key]!,
        others.map((o) => child(o, key)),
        join(path, key),
      );
    return out;
  };
  return visit(tree, rest, '') as T;
}

/** The leaves in the order of `treeMap`. */
export function treeLeaves(tree: Tree): Tensor[] {
  return Object.values(flattenTree(tree));
}

/** Leaves by dotted path (`blocks.0.attn.qkv.weight`), in the order of `treeMap`. */
export function flattenTree(tree: Tree): Record<string, Tensor> {
  const out: Record<string, Tensor> = {};
  treeMap((leaf, path) => (out[path] = leaf), tree);
  return out;
}

/** The inverse of `flattenTree`: dotted names to nested records; a record whose keys are 0 … n-1 becomes a list. */
export function unflattenTree(leaves: Record<string, Tensor>): Tree {
  type Draft = Map<string, Draft | Tensor>;
  const root: Draft = new Map();
  for (const [path, leaf] of Object.entries(leaves)) {
    const keys = path.split('.');
    let node = root;
    for (const key of keys.slice(0, -1)) {
      const next = node.get(key) ?? new Map<string, Draft | Tensor>();
      if (isTensor(next)) throw new Error(`unflattenTree: '${path}' lies below '${key}', which is itself a tensor`);
      node.set(key, next);
      node = next;
    }
    const last = keys.at(-1)!;
    if (node.has(last)) throw new Error(`unflattenTree: '${path}' names both a tensor and a group`);
    node.set(last, leaf);
  }
  const build = (node: Draft | Tensor): Tree => {
    if (isTensor(node)) return node;
    const keys = [...node.keys()];
    if (keys.length > 0 && keys.every((_, i) => node.has(String(i)))) return keys.map((_, i) => build(node.get(String(i))!));
    return Object.fromEntries(keys.map((key) => [key, build(node.get(key)!)]));
  };
  return build(root);
}

/** Disposes every leaf. */
export function disposeTree(tree: Tree): void {
  for (const leaf of treeLeaves(tree)) leaf.dispose();
}

const join = (path: string, key: string): string => (path === '' ? key : `${path}.${key}`);
const describe = (value: unknown): string => (value === null ? 'null' : Array.isArray(value) ? `a list of ${value.length}` : typeof value);
