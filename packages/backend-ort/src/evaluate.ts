import { NO_ATTRIBUTES, NO_INPUTS, type Node } from './graph.ts';
import { isConstant, topological } from './lower.ts';
import { GraphError, type Evaluation, type SessionCache } from './session-cache.ts';

/**
 * Largest number of results per run. With some thousand results, the time of ONNX Runtime grows faster than linearly. Smaller groups also
 * save sessions: in a long list of equal operations, all groups share one session.
 */
const MAX_RESULTS = 512;

/**
 * Computes every node of `wanted` that can be computed, and stores its data in it. The other nodes get the reason why they cannot be
 * computed. Nothing is computed twice: if a later group of results needs a value from an earlier group, the value is kept.
 * @returns how the values were computed, or null if this took more than one run
 */
export function evaluate(sessions: SessionCache, wanted: readonly Node[]): Evaluation | null {
  if (wanted.length === 0) return { session: null, feeds: [], outputs: [] };
  const order = topological(wanted);
  if (wanted.length <= MAX_RESULTS) return evaluateTogether(sessions, wanted, order);
  for (const group of groupsOf(order, new Set(wanted))) evaluateTogether(sessions, group);
  return null;
}

/**
 * While a function is traced, computes a value that no argument of it changes: a shape, or what follows from shapes and other constants.
 * @throws Error if the value depends on an argument
 */
export function foldConstant(sessions: SessionCache, node: Node): void {
  if (node.data !== undefined) return;
  if (!isConstant(node)) {
    throw new Error(
      'compile: the function reads the value of a tensor; a compiled function is traced without values, so return the tensor and read it outside',
    );
  }
  evaluate(sessions, [node]);
}

/**
 * Computes everything in one run, if no operator fails. If one fails, it and all nodes that depend on it are left out, and the rest is
 * tried again. From the second failure on, the rest is tried in halves.
 */
function evaluateTogether(sessions: SessionCache, wanted: readonly Node[], order = topological(wanted), failures = 0): Evaluation | null {
  const sound = withoutFailed(wanted, order);
  if (sound.length === 0) return null;
  try {
    const { values, evaluation } = sessions.evaluate(sound.length === wanted.length ? order : topological(sound), sound);
    sound.forEach((node, i) => settle(node, values[i]!));
    return sound.length === wanted.length ? evaluation : null;
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    const lacksMemory = /alloc|out of memory/i.test(error.message);
    // If memory is short for all results together, it may be enough for fewer results.
    const culprit =
      sound.length === 1 && lacksMemory ? sound[0]! : lacksMemory ? null : (error.node ?? (sound.length === 1 ? sound[0]! : null));
    if (culprit !== null) culprit.failure = failureOf(error, culprit);
    if (culprit !== null && failures === 0) return evaluateTogether(sessions, sound, undefined, 1);
    const half = Math.ceil(sound.length / 2);
    for (const part of [sound.slice(0, half), sound.slice(half)]) evaluateTogether(sessions, part, undefined, failures + 1);
    return null;
  }
}

/** Turns a computed node into a leaf. */
function settle(node: Node, data: NonNullable<Node['data']>): void {
  node.op = 'Leaf';
  node.inputs = NO_INPUTS;
  node.attributes = NO_ATTRIBUTES;
  delete node.body;
  node.data = data;
}

/** Copies the failure of a node to all nodes that depend on it, and returns the nodes of `wanted` without a failure. */
function withoutFailed(wanted: readonly Node[], order: readonly Node[]): readonly Node[] {
  let failed = false;
  for (const node of order) {
    if (node.failure === undefined) {
      const cause = node.inputs.find((input) => input?.failure !== undefined)?.failure;
      if (cause !== undefined) node.failure = cause;
    }
    failed ||= node.failure !== undefined;
  }
  return failed ? wanted.filter((node) => node.failure === undefined) : wanted;
}

/** An error with the names of the kernel and the operator, followed by the message of ONNX Runtime. */
function failureOf(error: GraphError, { origin, op }: Node): Error {
  const kernel = origin === undefined || origin === '' || origin === op ? op : `${origin} (${op})`;
  return new Error(`ort ${kernel}: ${error.reason}`, { cause: error });
}

/**
 * Divides the results into groups of `MAX_RESULTS`, in the order of the graph. If later groups read a node of an earlier group, the earlier
 * group returns this node too.
 */
function groupsOf(order: readonly Node[], wanted: ReadonlySet<Node>): Node[][] {
  const groupOf = new Map<Node, number>();
  let [group, count] = [0, 0];
  for (const node of order) {
    if (node.data !== undefined) continue;
    // An `Output` node is in the same group as its operator.
    groupOf.set(node, node.op === 'Output' ? groupOf.get(node.inputs[0]!)! : group);
    if (wanted.has(node) && ++count % MAX_RESULTS === 0) group++;
  }
  const groups = Array.from({ length: group + 1 }, () => new Set<Node>());
  for (const node of wanted) groups[groupOf.get(node)!]!.add(node);
  const keepFor = (reader: number, input: Node): void => {
    const at = groupOf.get(input);
    if (at === undefined || at === reader) return;
    // A float64 value cannot leave a graph. So each group computes it again from its inputs.
    if (input.dtype === 'float64') for (const inner of input.inputs) keepFor(reader, inner!);
    else groups[at]!.add(input);
  };
  for (const [node, at] of groupOf) if (node.op !== 'Output') for (const input of node.inputs) if (input !== null) keepFor(at, input);
  return groups.filter(({ size }) => size > 0).map((nodes) => [...nodes]);
}
