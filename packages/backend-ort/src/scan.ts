import type { OrtBackend, TensorInfo } from './backend.ts';
import { SMALL_CONSTANT } from './bits.ts';
import type { Body, Graph, Node } from './graph.ts';
import { feedsOfCall, feedsOfEvaluation, structureOf, topological, type Feeds } from './lower.ts';
import { rewrite } from './rewrite.ts';
import { tf } from './tf.ts';

type Tensor = tf.Tensor;

/**
 * A loop as one operator (ONNX `Scan`). `step` is traced once with placeholders, and then repeated for each slice of the sequences along
 * their first axis. No JavaScript runs between repetitions. Values that `step` uses from outside are read without a copy. Values that do
 * not change between repetitions are computed once, before them.
 *
 * @param carry tensors passed from one repetition to the next; their shapes and types do not change
 * @param sequences tensors [n, …], all with the same n
 * @returns the carried tensors after the last repetition, and the collected results of all repetitions, stacked [n, …]
 */
export function traceScan(
  backend: OrtBackend,
  carry: readonly Tensor[],
  sequences: readonly Tensor[],
  step: (carry: Tensor[], slices: Tensor[]) => { carry: Tensor[]; collected: Tensor[] },
): { carry: Tensor[]; collected: Tensor[] } {
  const { graph } = backend;
  const length = sequences[0]!.shape[0]!;
  const nodeOf = (x: Tensor): Node => backend.node(x as TensorInfo);
  const standIn = (x: Tensor, shape: readonly number[]): Node => graph.input(shape, nodeOf(x).dtype);
  const carried = carry.map((x) => standIn(x, x.shape));
  const slices = sequences.map((x) => standIn(x, x.shape.slice(1)));
  const outputs = backend.trace(() => {
    let nodes: Node[] = [];
    tf.tidy(() => {
      const result = step(
        carried.map((node) => tensorOf(backend, node)),
        slices.map((node) => tensorOf(backend, node)),
      );
      nodes = [...result.carry, ...result.collected].map(nodeOf);
    });
    return nodes;
  });
  // When a graph is evaluated without `compile`, a loop in which only numbers changed should use the same session again. So these numbers
  // are passed in from outside, and are not stored in the body.
  const isStored: Feeds = (node) => node.data!.length <= SMALL_CONSTANT && (backend.isTracing || !feedsOfEvaluation(node));
  const { body, outside } = closeBody(graph, [...carried, ...slices], outputs, length, isStored);
  const results = outputs.map(({ shape, dtype }, i) => ({ shape: i < carry.length ? shape : [length, ...shape], dtype }));
  const inputs = [...carry, ...sequences].map(nodeOf);
  const tensors = graph
    .addMany('Scan', [...inputs, ...outside], { num_scan_inputs: sequences.length }, results, body)
    .map((node) => tensorOf(backend, node));
  return { carry: tensors.slice(0, carry.length), collected: tensors.slice(carry.length) };
}

/**
 * Separates the nodes that depend on the placeholders from all others. The others become further inputs of the body. Constants for which
 * `isStored` is true stay in the body.
 */
function closeBody(
  graph: Graph,
  standIns: readonly Node[],
  outputs: readonly Node[],
  length: number,
  isStored: Feeds,
): { body: Body; outside: Node[] } {
  const captured = new Map<Node, Node>();
  const capture = (node: Node): Node => {
    if (!captured.has(node)) captured.set(node, graph.input(node.shape, node.dtype));
    return captured.get(node)!;
  };
  // Small constants stay in the body until it is rewritten, because rewriting uses their values.
  const isSmall: Feeds = (node) => node.op === 'Constant' && node.data!.length <= SMALL_CONSTANT;
  const cut = over(graph, standIns, outputs, (node) => (isSmall(node) ? node : capture(node)));
  const own = [...standIns, ...captured.values()];
  const results = over(graph, own, rewrite(graph, cut), (node) => (node.op === 'Constant' && !isStored(node) ? capture(node) : node));
  const inputs = [...standIns, ...captured.values()];
  const order = [...new Set([...inputs, ...topological(results)])];
  return {
    body: { inputs, outputs: results, own: standIns.length, length, structure: `${length}x{${structureOf(order, results, feedsOfCall)}}` },
    outside: [...captured.keys()],
  };
}

/** `outputs`, with every node that does not depend on `roots` replaced by `outer(node)`. */
function over(graph: Graph, roots: readonly Node[], outputs: readonly Node[], outer: (node: Node) => Node): Node[] {
  const renewed = new Map<Node, Node>(roots.map((node) => [node, node]));
  const within = (node: Node): Node => renewed.get(node) ?? outer(node);
  for (const node of topological(outputs)) {
    if (renewed.has(node) || !node.inputs.some((input) => input !== null && renewed.has(input))) continue;
    renewed.set(
      node,
      graph.again(
        node,
        node.inputs.map((input) => (input === null ? null : within(input))),
      ),
    );
  }
  return outputs.map(within);
}

function tensorOf(backend: OrtBackend, node: Node): Tensor {
  const { dataId, shape, dtype } = backend.output(node);
  return tf.engine().makeTensorFromDataId(dataId, shape, dtype as 'float32', backend);
}
