import { bitsOf, SMALL_CONSTANT } from './bits.ts';
import { sizeOf, type Body, type Node } from './graph.ts';
import { isSum } from './sums.ts';
import { encodeModel, type HostArray, type OnnxGraph, type OnnxValue } from './onnx.ts';

/** A graph of nodes in an order in which every node stands after its inputs. */
export function topological(outputs: readonly Node[]): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  // Explicit stack: a training step is thousands of nodes deep.
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

/** Which nodes get their values at each run; the others are operators, or constants that are part of the model. */
export type Feeds = (node: Node) => boolean;

/** A compiled call feeds only its arguments. */
export const feedsOfCall: Feeds = (node) => node.op === 'Input';

/**
 * An evaluated graph is fed everything but shapes: a learning rate, an index or a table of weights may differ at the next step, which must find
 * the same model. Shapes, axes and widths are what ONNX Runtime prepares a model for; an empty constant has nothing to feed.
 */
export const feedsOfEvaluation: Feeds = (node) => {
  if (node.op === 'Leaf') return true;
  if (node.op !== 'Constant' || node.data!.length === 0) return false;
  return node.dtype !== 'int64' || node.place === true || node.data!.length > SMALL_CONSTANT;
};

/** Two graphs with equal structure differ only in what they are fed, so one session serves both. Constants of the model stand in it bit by bit. */
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

/** The name of a node's value inside a model that was lowered from `order`. */
export const nameOf = (position: number): string => `v${position}`;

/**
 * Floating-point operations of the matrix products and, one each, of the elements of everything else, or those of one repetition of a loop if
 * that is more: threads share an operator, and not the repetitions.
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

/** Multiply-accumulates of a matrix product, a convolution or all repetitions of a loop; 0 for everything else. Those with the zeros of a padding count. */
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
  // Each output of a convolution, and each input of a transposed one, meets all weights of its channel.
  return ((node.op === 'Conv' ? size : sizeOf(x.shape)) * sizeOf(weights.shape)) / weights.shape[0]!;
}

/** The model of a graph, whose inputs are the nodes that are fed. */
export function lower(order: readonly Node[], outputs: readonly Node[], name: string, isFed: Feeds): Uint8Array {
  const names = new Map(order.map((node, position) => [node, nameOf(position)]));
  const graph = emit(order, names, isFed);
  graph.inputs = order.filter(isFed).map((node) => valueOf(names.get(node)!, node));
  graph.outputs = outputs.map((node) => valueOf(names.get(node)!, node));
  return encodeModel(graph, name);
}

/** The position in `order` of the node that a message of ONNX Runtime's is about, or -1 if it names none. */
export const positionIn = (message: string): number => Number(/['(]#(\d+)/.exec(message)?.[1] ?? -1);

/**
 * Operators whose results from the given one on may stay without a name, which spares their computation. All results of any other operator have
 * names, whether they are read or not.
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

/** Operators and stored constants of a graph. `path` is the position of the operator that it is the body of, with a dot. */
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
        // What a body uses from outside it names itself.
        inputs: body === undefined ? inputs : inputs.slice(0, body.own),
        outputs: outputNames,
        attributes:
          body === undefined ? attributes : { ...attributes, body: { graph: emitBody(body, name, inputs, `${path}${position}.`) } },
      });
    }
  });
  return graph;
}

/** An inner graph. Its names begin with that of the operator; the inputs beyond its own have the names they have outside. */
function emitBody(body: Body, prefix: string, outside: readonly string[], path: string): OnnxGraph {
  const { inputs, outputs, own } = body;
  const order = [...new Set([...inputs, ...topological(outputs)])];
  const names = new Map(order.map((node, position) => [node, `${prefix}.${nameOf(position)}`]));
  for (let i = own; i < inputs.length; i++) names.set(inputs[i]!, outside[i]!);
  const graph = emit(order, names, feedsOfCall, path);
  graph.inputs = inputs.slice(0, own).map((node) => valueOf(names.get(node)!, node));
  graph.outputs = outputs.map((node, i) => {
    // Each output has to be the result of an operator, and of one only.
    if (node.op !== 'Input' && node.op !== 'Constant' && outputs.indexOf(node) === i) return valueOf(names.get(node)!, node);
    const name = `${prefix}.out${i}`;
    graph.nodes.push({ op: 'Identity', domain: '', inputs: [names.get(node)!], outputs: [name], attributes: {} });
    return valueOf(name, node);
  });
  return graph;
}
