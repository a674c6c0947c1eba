import { bitsOf, SMALL_CONSTANT } from './bits.ts';
import { sizeOf, type Body, type Node } from './graph.ts';
import { isSum } from './sums.ts';
import { encodeModel, type HostArray, type OnnxGraph, type OnnxValue } from './onnx.ts';

/** All nodes that `outputs` need, sorted so that each node comes after its inputs. */
export function topological(outputs: readonly Node[]): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  // No recursion: the graph of a training step is thousands of nodes deep.
  const stack: { node: Node; next: number }[] = [];
  for (const output of outputs) {
    if (seen.has(output)) continue;
    seen.add(output);
    stack.push({ node: output, next: 0 });
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!;
      if (top.next === top.node.inputs.length) {
        order.push(top.node);
        stack.pop();
        continue;
      }
      const input = top.node.inputs[top.next++]!;
      if (input !== null && !seen.has(input)) {
        seen.add(input);
        stack.push({ node: input, next: 0 });
      }
    }
  }
  return order;
}

/** Whether no argument of a traced function is among the nodes that this node needs. */
export const isConstant = (node: Node): boolean => topological([node]).every(({ op }) => op !== 'Input');

/** Says which nodes get their values at each run. The others are operators, or constants that are stored in the model. */
export type Feeds = (node: Node) => boolean;

/** A compiled call passes only its arguments. */
export const feedsOfCall: Feeds = (node) => node.op === 'Input';

/**
 * An evaluation passes in all values except shapes. So a learning rate, an index or a table of weights may change in the next step, and the
 * same model can be used again. Shapes, axes and widths are stored in the model, because ONNX Runtime uses them to prepare it. An empty
 * constant has no values to pass.
 */
export const feedsOfEvaluation: Feeds = (node) => {
  if (node.op === 'Leaf') return true;
  if (node.op !== 'Constant' || node.data!.length === 0) return false;
  return node.dtype !== 'int64' || node.place === true || node.data!.length > SMALL_CONSTANT;
};

/**
 * Describes a graph. Two graphs with the same description differ only in the values that are passed in, so they can share one session. The
 * description contains the constants of the model, bit by bit.
 */
export function structureOf(order: readonly Node[], outputs: readonly Node[], isFed: Feeds): string {
  const index = new Map<Node, number>();
  const parts = order.map((node, i) => {
    index.set(node, i);
    if (isFed(node)) return `Fed:${node.dtype}:${node.shape}`;
    if (node.op === 'Constant' || node.op === 'Leaf') return `${node.op}:${node.dtype}:${node.shape}:${bitsOf(node.data!).join()}`;
    const attributes = Object.keys(node.attributes).length === 0 ? '' : JSON.stringify(node.attributes);
    return `${node.op}(${node.inputs.map((x) => (x === null ? '' : index.get(x))).join()})${attributes}${node.body?.structure ?? ''}:${node.dtype}:${node.shape}`;
  });
  return `${parts.join(';')}>${outputs.map((x) => index.get(x)).join()}`;
}

/** The name of a node's value in the model. `position` is its place in `order`. */
export const nameOf = (position: number): string => `v${position}`;

/**
 * The amount of work in a graph: the floating-point operations of the matrix products and convolutions, plus one for each element of every
 * other result. If one repetition of a loop has more work, that number is returned, because threads divide the work of an operator but not
 * the repetitions.
 */
export function workOf(order: readonly Node[]): number {
  let [work, repetition] = [0, 0];
  for (const node of order) {
    if (node.body !== undefined) {
      repetition = Math.max(repetition, workOf(topological(node.body.outputs)));
      continue;
    }
    const products = multiplyAdds(node);
    if (products > 0) work += 2 * products;
    else if (node.op !== 'Leaf' && node.op !== 'Constant' && node.op !== 'Reshape') work += sizeOf(node.shape);
  }
  return Math.max(work, repetition);
}

/**
 * Multiply-accumulates of a matrix product, a convolution, or all repetitions of a loop. 0 for all other operators. Multiplications with
 * the zeros of a padding are included.
 */
export function multiplyAdds(node: Node): number {
  if (node.body !== undefined)
    return node.body.length * topological(node.body.outputs).reduce((sum, inner) => sum + multiplyAdds(inner), 0);
  const size = sizeOf(node.shape);
  if (node.op === 'MatMul' || node.op === 'FusedMatMul' || node.op === 'Gemm') {
    if (isSum(node)) return 0;
    const a = node.inputs[0]!.shape;
    return size * (node.attributes.transA === 1 ? a[a.length - 2]! : a[a.length - 1]!);
  }
  if (node.op !== 'Conv' && node.op !== 'ConvTranspose') return 0;
  const [x, weights] = node.inputs as [Node, Node];
  // Each output of a convolution uses all weights of its channel. So does each input of a transposed convolution.
  return ((node.op === 'Conv' ? size : sizeOf(x.shape)) * sizeOf(weights.shape)) / weights.shape[0]!;
}

/** The ONNX model of a graph. The nodes for which `isFed` is true are its inputs. */
export function lower(order: readonly Node[], outputs: readonly Node[], name: string, isFed: Feeds): Uint8Array {
  const names = new Map(order.map((node, position) => [node, nameOf(position)]));
  const graph = emit(order, names, isFed);
  graph.inputs = order.filter(isFed).map((node) => valueOf(names.get(node)!, node));
  graph.outputs = outputs.map((node) => valueOf(names.get(node)!, node));
  return encodeModel(graph, name);
}

/** The position in `order` of the node that an error message of ONNX Runtime names, or -1 if it names none. */
export const positionIn = (message: string): number => Number(/['(]#(\d+)/.exec(message)?.[1] ?? -1);

/**
 * Operators with optional results, and the index of the first optional one. An unread optional result gets no name, and then it is not
 * computed. All results of other operators must have names, read or not.
 */
const OPTIONAL_FROM: Readonly<Record<string, number>> = {
  BatchNormalization: 1,
  Dropout: 1,
  GRU: 0,
  LayerNormalization: 1,
  LSTM: 0,
  MaxPool: 1,
  RNN: 0,
  SkipLayerNormalization: 1,
  Unique: 1,
};

export const valueOf = (name: string, { dtype, shape }: Node): OnnxValue => ({ name, dtype, shape });

/** Makes the operators and stored constants of a graph. For the graph inside a `Scan`, `path` is the position of the `Scan` and a dot. */
export function emit(order: readonly Node[], names: ReadonlyMap<Node, string>, isFed: Feeds, path = ''): OnnxGraph {
  const graph: OnnxGraph = { nodes: [], inputs: [], outputs: [], initializers: [] };
  const results = new Map<Node, string[]>();
  order.forEach((node, position) => {
    const name = names.get(node)!;
    if (isFed(node)) return;
    if (node.op === 'Leaf' || node.op === 'Constant') graph.initializers.push({ ...valueOf(name, node), data: node.data as HostArray });
    else if (node.op === 'Output') results.get(node.inputs[0]!)![node.attributes.index as number] = name;
    else {
      const { results: count, ...attributes } = node.attributes as Record<string, number>;
      const { body } = node;
      const unread = (_: unknown, i: number): string => (i >= (OPTIONAL_FROM[node.op] ?? Infinity) ? '' : `${name}.unread${i}`);
      const outputNames = count === undefined ? [name] : Array.from({ length: count }, unread);
      if (count !== undefined) results.set(node, outputNames);
      const inputs = node.inputs.map((x) => (x === null ? '' : names.get(x)!));
      graph.nodes.push({
        name: `#${path}${position}`,
        op: node.op,
        domain: node.domain,
        // A body refers to outer values by name, so they are not listed as inputs of the operator.
        inputs: body === undefined ? inputs : inputs.slice(0, body.own),
        outputs: outputNames,
        attributes:
          body === undefined ? attributes : { ...attributes, body: { graph: emitBody(body, name, inputs, `${path}${position}.`) } },
      });
    }
  });
  return graph;
}

/** The graph inside a `Scan`. Its names begin with the name of the operator. Values from outside have the names that they have outside. */
function emitBody(body: Body, prefix: string, outside: readonly string[], path: string): OnnxGraph {
  const { inputs, outputs, own } = body;
  const order = [...new Set([...inputs, ...topological(outputs)])];
  const names = new Map(order.map((node, position) => [node, `${prefix}.${nameOf(position)}`]));
  for (let i = own; i < inputs.length; i++) names.set(inputs[i]!, outside[i]!);
  const graph = emit(order, names, feedsOfCall, path);
  graph.inputs = inputs.slice(0, own).map((node) => valueOf(names.get(node)!, node));
  graph.outputs = outputs.map((node, i) => {
    // ONNX wants each output to be the result of an operator, and no two outputs to be the same. An Identity operator solves the other
    // cases.
    if (node.op !== 'Input' && node.op !== 'Constant' && outputs.indexOf(node) === i) return valueOf(names.get(node)!, node);
    const name = `${prefix}.out${i}`;
    graph.nodes.push({ op: 'Identity', domain: '', inputs: [names.get(node)!], outputs: [name], attributes: {} });
    return valueOf(name, node);
  });
  return graph;
}
