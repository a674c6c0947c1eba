import type { OrtBackend, TensorInfo } from './backend.ts';
import type { Body, Graph, Node } from './graph.ts';
import { structureOf, topological } from './lower.ts';
import { rewrite } from './rewrite.ts';
import { tf } from './tf.ts';

type Tensor = tf.Tensor;

/** Constants up to this size are written into the body; it reads larger ones from outside, where they are stored once. */
const SMALL_CONSTANT = 64;

/**
 * A loop as one operator (ONNX `Scan`): `step` is traced once on stand-ins and repeated for each slice of the sequences along their first axis,
 * without a border to cross between repetitions. What `step` uses from outside is read in place, and whatever does not change between
 * repetitions is computed once, before them.
 *
 * @param carry tensors handed from one repetition to the next, of shapes and types that do not change
 * @param sequences tensors [n, …], all of one n
 * @returns the carried tensors after the last repetition, and what each repetition gave, stacked [n, …]
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
  const { body, outside } = closeBody(graph, [...carried, ...slices], outputs, length);
  const results = outputs.map(({ shape, dtype }, i) => ({ shape: i < carry.length ? shape : [length, ...shape], dtype }));
  const inputs = [...carry, ...sequences].map(nodeOf);
  const tensors = graph
    .addMany('Scan', [...inputs, ...outside], { num_scan_inputs: sequences.length }, results, body)
    .map((node) => tensorOf(backend, node));
  return { carry: tensors.slice(0, carry.length), collected: tensors.slice(carry.length) };
}

/** Cuts what depends on the stand-ins off from the rest, which the body gets as further inputs. */
function closeBody(graph: Graph, standIns: readonly Node[], outputs: readonly Node[], length: number): { body: Body; outside: Node[] } {
  const renewed = new Map<Node, Node>(standIns.map((node) => [node, node]));
  const inner = new Set<Node>(standIns);
  const captured = new Map<Node, Node>();
  const isSmall = (node: Node): boolean => node.op === 'Constant' && node.data!.length <= SMALL_CONSTANT;
  const within = (node: Node): Node => {
    if (inner.has(node)) return renewed.get(node)!;
    if (isSmall(node)) return node;
    if (!captured.has(node)) captured.set(node, graph.input(node.shape, node.dtype));
    return captured.get(node)!;
  };
  for (const node of topological(outputs)) {
    if (inner.has(node) || !node.inputs.some((input) => input !== null && inner.has(input))) continue;
    inner.add(node);
    renewed.set(
      node,
      graph.again(
        node,
        node.inputs.map((input) => (input === null ? null : within(input))),
      ),
    );
  }
  const results = rewrite(graph, outputs.map(within));
  const inputs = [...standIns, ...captured.values()];
  const order = [...new Set([...inputs, ...topological(results)])];
  return {
    body: { inputs, outputs: results, own: standIns.length, length, structure: `${length}x{${structureOf(order, results)}}` },
    outside: [...captured.keys()],
  };
}

function tensorOf(backend: OrtBackend, node: Node): Tensor {
  const { dataId, shape, dtype } = backend.output(node);
  return tf.engine().makeTensorFromDataId(dataId, shape, dtype as 'float32', backend);
}
