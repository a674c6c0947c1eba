import { tf, type Tensor } from './tf.ts';

/** A nested record or list of tensors. Parameters, gradients, optimizer state and averages are all trees. */
export type Tree = Tensor | readonly Tree[] | { readonly [name: string]: Tree };

export function isTensor(value: unknown): value is Tensor {
  return value instanceof tf.Tensor;
}

/**
 * Applies `f` to every leaf and returns a tree of the same structure. Paths are joined by dots (`blocks.0.weight`). If the tree is a single
 * tensor, its path is empty. `rest` are trees with the same paths; `f` also gets their leaves at the same path.
 * @throws Error that names the path if something is not a tensor, list or plain record, or if the paths of the trees differ.
 */
export function treeMap<T extends Tree>(f: (leaf: Tensor, path: string, ...rest: Tensor[]) => Tensor, tree: T, ...rest: Tree[]): T {
  const visit = (node: Tree, others: Tree[], path: string): Tree => {
    if (isTensor(node)) {
      for (const other of others)
        if (!isTensor(other)) throw new Error(`treeMap: at '${path}' wanted a tensor in every tree, got ${describe(other)}`);
      return f(node, path, ...(others as Tensor[]));
    }
    if (!isGroup(node)) throw new Error(`treeMap: at '${path}' wanted a tensor, list or plain record, got ${describe(node)}`);
    for (const other of others) checkSameKeys(node, other, path);
    const children = Object.keys(node).map((key): [string, Tree] => {
      const at = (group: Tree): Tree => (group as Record<string, Tree>)[key]!;
      return [key, visit(at(node), others.map(at), join(path, key))];
    });
    return Array.isArray(node) ? children.map(([, child]) => child) : Object.fromEntries(children);
  };
  return visit(tree, rest, '') as T;
}

/** The leaves in the order of `treeMap`. */
export function treeLeaves(tree: Tree): Tensor[] {
  return Object.values(flattenTree(tree));
}

/**
 * The leaves by dotted path, in the order of `treeMap`.
 * @throws Error if two leaves have the same path, as in `{ 'a.b': x, a: { b: y } }`.
 */
export function flattenTree(tree: Tree): Record<string, Tensor> {
  const out = new Map<string, Tensor>();
  treeMap((leaf, path) => {
    if (out.has(path)) throw new Error(`flattenTree: wanted every path once, got '${path}' twice`);
    out.set(path, leaf);
    return leaf;
  }, tree);
  return Object.fromEntries(out);
}

/**
 * The inverse of `flattenTree` for trees without empty groups and without dots in their keys. Dotted names become nested records. A record whose keys
 * are 0 … n-1 becomes a list. If the only name is empty, the result is the tensor itself.
 * @throws Error if a name is both a tensor and a group, or has an empty part.
 */
export function unflattenTree(leaves: Readonly<Record<string, Tensor>>): Tree {
  type Draft = Map<string, Draft | Tensor>;
  const entries = Object.entries(leaves);
  if (entries.length === 1 && entries[0]![0] === '') return entries[0]![1];
  const root: Draft = new Map();
  for (const [path, leaf] of entries) {
    const keys = path.split('.');
    if (keys.includes('')) throw new Error(`unflattenTree: wanted names like 'a.b' without empty parts, got '${path}'`);
    if (!isTensor(leaf)) throw new Error(`unflattenTree: wanted a tensor as '${path}', got ${describe(leaf)}`);
    let node = root;
    keys.slice(0, -1).forEach((key, depth) => {
      const next = node.get(key) ?? new Map<string, Draft | Tensor>();
      if (isTensor(next)) throw new Error(`unflattenTree: wanted '${keys.slice(0, depth + 1).join('.')}' as tensor or as group, got both`);
      node.set(key, next);
      node = next;
    });
    const last = keys.at(-1)!;
    if (node.has(last)) throw new Error(`unflattenTree: wanted '${path}' as tensor or as group, got both`);
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

/**
 * Whether this is a list or a plain record. Class instances, such as tensors, are not: a copy would lose properties that are not
 * enumerable.
 */
function isGroup(value: unknown): value is Exclude<Tree, Tensor> {
  if (value === null || typeof value !== 'object') return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return Array.isArray(value) || prototype === Object.prototype || prototype === null;
}

function checkSameKeys(node: Exclude<Tree, Tensor>, other: Tree, path: string): void {
  if (!isGroup(other)) {
    throw new Error(`treeMap: at '${path}' wanted ${describe(node)} in every tree, got ${describe(other)}`);
  }
  for (const [all, some] of [
    [node, other],
    [other, node],
  ] as const) {
    const missing = Object.keys(all).find((key) => !Object.hasOwn(some, key));
    if (missing !== undefined) throw new Error(`treeMap: '${join(path, missing)}' is missing in one of the trees`);
  }
}

function describe(value: unknown): string {
  if (value === null || typeof value !== 'object') return value === null ? 'null' : typeof value;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (isTensor(value)) return `a tensor [${value.shape.join(', ')}]`;
  return isGroup(value) ? 'a record' : (value.constructor?.name ?? 'an object');
}
