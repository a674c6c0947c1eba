import { sameShape, sizeOf, type Node } from '../graph.ts';
import { LANES, type Operation, type Pass } from './assembler.ts';

/**
 * The end of a graph that replaces state: new parameters, moments and averages from the old ones and the gradients. ONNX Runtime makes a
 * pass over memory for each operator, and one more copy for leaves that were joined. Here such an end becomes groups; each group is one
 * pass over memory that writes the new values over the old ones.
 */
export interface Group {
  /** Place of each leaf in an array of the group, in floats. Joined leaves lie behind each other. */
  parts: readonly { at: number; size: number }[];
  /** Floats of an array, with the gaps between leaves. */
  length: number;
  /** For each array of old values, the arguments that it consists of. */
  old: readonly (readonly Node[])[];
  /** For each array that the graph computes, the nodes that it consists of. */
  computed: readonly (readonly Node[])[];
  scalars: readonly Node[];
  /** For each array of old values, the results that replace it, or null where a leaf has no result. */
  results: readonly (readonly (Node | null)[])[];
  pass: Pass;
}

/** Leaves begin at multiples of this many floats, which is a line of the cache. */
const ALIGNMENT = 16;

const isScalar = (node: Node): boolean => sizeOf(node.shape) === 1;

/** Whether an operator computes each element from the same element of its operands, or from scalars. */
function isElementWise({ op, domain, dtype, shape, inputs }: Node): boolean {
  if (!Object.hasOwn(LANES, op) || domain !== '' || dtype !== 'float32' || sizeOf(shape) < 2) return false;
  return inputs.every((x) => sameShape(x!.shape, shape) || (isScalar(x!) && x!.shape.length <= shape.length));
}

/** Whether an operator gives a part of its input another shape, and nothing more. */
const isExit = ({ op, inputs, shape }: Node): boolean =>
  op === 'Reshape' || (op === 'Slice' && shape.length === 1 && inputs.length === 4 && inputs[0]!.shape.length === 1);

/** The node whose values a node has in another shape. */
const source = (node: Node): Node => (node.op === 'Reshape' ? source(node.inputs[0]!) : node);

/**
 * The groups at the end of a graph. A group is taken only if it replaces as many arrays as it reads, and if all of them are `donated`
 * arguments.
 *
 * @param order all nodes, each after its inputs
 * @param results what the graph returns: computed nodes, and arguments that are passed on
 */
export function tailOf(order: readonly Node[], results: readonly Node[], donated: ReadonlySet<Node>): Group[] {
  const wanted = new Set(results);
  const users = new Map<Node, Node[]>(order.map((node) => [node, []]));
  for (const node of order) for (const input of new Set(node.inputs)) if (input !== null) users.get(input)!.push(node);
  const tail = new Set<Node>();
  const exits = new Set<Node>();
  for (const node of [...order].reverse()) {
    const after = users.get(node)!;
    if (after.length === 0 && !wanted.has(node)) continue;
    if (isElementWise(node) && after.every((user) => tail.has(user) || exits.has(user))) tail.add(node);
    else if (isExit(node) && after.every((user) => exits.has(user))) exits.add(node);
  }
  const taken = new Set<Node>(results.filter(({ op }) => op === 'Input'));
  const groups: Group[] = [];
  for (const nodes of connected(order.filter((node) => tail.has(node)))) {
    const group = groupOf(nodes, { wanted, users, exits, donated, taken });
    if (group === null) continue;
    for (const node of [...group.old, ...group.computed].flat()) taken.add(node);
    groups.push(group);
  }
  return groups;
}

/** Divides the tail into groups that share no array. */
function connected(tail: readonly Node[]): Node[][] {
  const parent = new Map<Node, Node>();
  const root = (node: Node): Node => {
    let at = node;
    while (parent.has(at)) at = parent.get(at)!;
    return at;
  };
  for (const node of tail) {
    for (const input of node.inputs) {
      const [a, b] = [root(node), root(input!)];
      if (!isScalar(input!) && a !== b) parent.set(b, a);
    }
  }
  const groups = new Map<Node, Node[]>();
  for (const node of tail) groups.set(root(node), [...(groups.get(root(node)) ?? []), node]);
  return [...groups.values()];
}

interface Surroundings {
  wanted: ReadonlySet<Node>;
  users: ReadonlyMap<Node, readonly Node[]>;
  exits: ReadonlySet<Node>;
  donated: ReadonlySet<Node>;
  /** Nodes that cannot lie in an array of another group. */
  taken: ReadonlySet<Node>;
}

/** A group of connected nodes, each after its inputs, or null if they cannot be one pass in place. */
function groupOf(nodes: readonly Node[], around: Surroundings): Group | null {
  const { wanted, donated, taken } = around;
  const inside = new Set(nodes);
  const outside = [...new Set(nodes.flatMap(({ inputs }) => inputs as Node[]))].filter((node) => !inside.has(node));
  const arrays = outside.filter((node) => !isScalar(node)).map((node) => leavesOf(node, inside, around));
  const scalars = outside.filter(isScalar);
  if (arrays.some((leaves) => leaves === null) || scalars.some(({ dtype }) => dtype !== 'float32')) return null;
  const all = (arrays as Node[][]).flat();
  if (new Set(all).size !== all.length || all.some((node) => taken.has(node) || wanted.has(node) || node.dtype !== 'float32')) return null;
  const old = (arrays as Node[][]).filter((leaves) => leaves.every((node) => donated.has(node)));
  const computed = (arrays as Node[][]).filter((leaves) => leaves.every(({ op, data }) => op !== 'Input' && data === undefined));
  if (old.length + computed.length !== arrays.length || old.length === 0) return null;

  const sizes = old[0]!.map(({ shape }) => sizeOf(shape));
  if ([...old, ...computed].some((leaves) => leaves.map(({ shape }) => sizeOf(shape)).join() !== sizes.join())) return null;
  const replaced = resultsOf(nodes, sizes, around);
  if (replaced === null || replaced.length !== old.length) return null;

  const number = new Map<Node, number>();
  const outer = outside.filter((node) => !isScalar(node));
  const rank = (k: number): number => (donated.has(arrays[k]![0]!) ? 0 : 1);
  const sorted = outer.map((_, k) => k).sort((a, b) => rank(a) - rank(b));
  for (const node of [...sorted.map((k) => outer[k]!), ...scalars, ...nodes]) number.set(node, number.size);
  const steps = nodes.map(({ op, inputs }): Operation => ({ op: op as Operation['op'], operands: inputs.map((x) => number.get(x!)!) }));
  let length = 0;
  const parts = sizes.map((size) => {
    const at = length;
    length += Math.ceil(size / ALIGNMENT) * ALIGNMENT;
    return { at, size };
  });
  const pass = { arrays: arrays.length, scalars: scalars.length, steps, results: replaced.map(({ node }) => number.get(node)!) };
  return { parts, length, old, computed, scalars, results: replaced.map(({ leaves }) => leaves), pass };
}

/** The leaves that an array consists of, behind each other. Null if a joined array is also read elsewhere. */
function leavesOf(array: Node, inside: ReadonlySet<Node>, { users }: Surroundings): Node[] | null {
  if (array.op !== 'Concat') return [source(array)];
  if (array.shape.length !== 1 || users.get(array)!.some((user) => !inside.has(user))) return null;
  return array.inputs.map((leaf) => source(leaf!));
}

/** The nodes of a group that leave it, with the result for each leaf. Null if a result is not exactly one leaf. */
function resultsOf(
  nodes: readonly Node[],
  sizes: readonly number[],
  around: Surroundings,
): { node: Node; leaves: (Node | null)[] }[] | null {
  const { wanted, users, exits } = around;
  const starts = sizes.map((_, k) => sizes.slice(0, k).reduce((sum, size) => sum + size, 0));
  const found: { node: Node; leaves: (Node | null)[] }[] = [];
  for (const node of nodes) {
    const leaves: (Node | null)[] = sizes.map(() => null);
    const visit = (at: Node, leaf: number): boolean => {
      if (wanted.has(at)) {
        if (leaf < 0 || leaves[leaf] !== null) return false;
        leaves[leaf] = at;
      }
      return users.get(at)!.every((user) => !exits.has(user) || visit(user, user.op === 'Slice' ? leafOf(user, leaf) : leaf));
    };
    const leafOf = (slice: Node, leaf: number): number => {
      const [start, end] = slice.inputs.slice(1, 3).map((x) => Number(x!.data![0]));
      const k = starts.indexOf(start!);
      return sizes.length > 1 && leaf < 0 && k >= 0 && start! + sizes[k]! === end ? k : -1;
    };
    if (!visit(node, sizes.length === 1 ? 0 : -1)) return null;
    if (leaves.some((leaf) => leaf !== null)) found.push({ node, leaves });
  }
  return found;
}
