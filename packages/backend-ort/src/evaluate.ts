import type { Node } from './graph.ts';
import { topological } from './lower.ts';
import { GraphError, type SessionCache } from './session-cache.ts';

/**
 * Largest number of results per run. For graphs with some thousand results the time of ONNX Runtime grows faster than linearly. Also, the groups of a long
 * list of equal operations share a session.
 */
const MAX_RESULTS = 512;

/**
 * Computes every node of `wanted` that can be computed: it then holds data, and the others hold why not. Nothing is computed twice: what one
 * group of results computes on the way and a later group needs is kept until then.
 */
export function evaluate(sessions: SessionCache, wanted: readonly Node[]): void {
  const order = topological(wanted);
  if (wanted.length <= MAX_RESULTS) evaluateTogether(sessions, wanted, order);
  else for (const group of groupsOf(order, new Set(wanted))) evaluateTogether(sessions, group);
}

/** One run, if all goes well. What fails is left out with all that depends on it; the rest is tried again, in halves from the second time on. */
function evaluateTogether(sessions: SessionCache, wanted: readonly Node[], order = topological(wanted), failures = 0): void {
  const sound = withoutFailed(wanted, order);
  if (sound.length === 0) return;
  try {
    const values = sessions.evaluate(sound.length === wanted.length ? order : topological(sound), sound);
    sound.forEach((node, i) => settle(node, values[i]!));
  } catch (error) {
    if (!(error instanceof GraphError)) throw error;
    const lacksMemory = /alloc|out of memory/i.test(error.message);
    // Fewer results may fit where all together did not.
    const culprit =
      sound.length === 1 && lacksMemory ? sound[0]! : lacksMemory ? null : (error.node ?? (sound.length === 1 ? sound[0]! : null));
    if (culprit !== null) culprit.failure = failureOf(error, culprit);
    if (culprit !== null && failures === 0) return evaluateTogether(sessions, sound, undefined, 1);
    const half = Math.ceil(sound.length / 2);
    for (const part of [sound.slice(0, half), sound.slice(half)]) evaluateTogether(sessions, part, undefined, failures + 1);
  }
}

/** A computed node is a leaf. */
function settle(node: Node, data: NonNullable<Node['data']>): void {
  node.op = 'Leaf';
  node.inputs = [];
  node.attributes = {};
  delete node.body;
  node.data = data;
}

/** Hands failures on to what depends on them, and gives the nodes of `wanted` that have none. */
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

/** ONNX Runtime's sentence behind the kernel and the operator that it is about. */
function failureOf(error: GraphError, { origin, op }: Node): Error {
  const kernel = origin === undefined || origin === '' || origin === op ? op : `${origin} (${op})`;
  return new Error(`ort ${kernel}: ${error.reason}`, { cause: error });
}

/**
 * Results in groups of `MAX_RESULTS`, in the order of the graph. Each group also computes the nodes that later groups read, so that these begin
 * where it ended.
 */
function groupsOf(order: readonly Node[], wanted: ReadonlySet<Node>): Node[][] {
  const groupOf = new Map<Node, number>();
  let [group, count] = [0, 0];
  for (const node of order) {
    if (node.data !== undefined) continue;
    // A result of an operator with several belongs to it.
    groupOf.set(node, node.op === 'Output' ? groupOf.get(node.inputs[0]!)! : group);
    if (wanted.has(node) && ++count % MAX_RESULTS === 0) group++;
  }
  const groups = Array.from({ length: group + 1 }, () => new Set<Node>());
  for (const node of wanted) groups[groupOf.get(node)!]!.add(node);
  const keepFor = (reader: number, input: Node): void => {
    const at = groupOf.get(input);
    if (at === undefined || at === reader) return;
    // float64 stands inside a graph only: it is computed again from what it is made of.
    if (input.dtype === 'float64') for (const inner of input.inputs) keepFor(reader, inner!);
    else groups[at]!.add(input);
  };
  for (const [node, at] of groupOf) if (node.op !== 'Output') for (const input of node.inputs) if (input !== null) keepFor(at, input);
  return groups.filter(({ size }) => size > 0).map((nodes) => [...nodes]);
}
