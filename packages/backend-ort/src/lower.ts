import { sizeOf, type Body, type Node } from './graph.ts';
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

/** Two graphs with equal structure differ only in the data of their leaves, so one session serves both. */
export function structureOf(order: readonly Node[], outputs: readonly Node[]): string {
  const index = new Map<Node, number>();
  const parts = order.map((node, i) => {
    index.set(node, i);
    if (node.op === 'Leaf' || node.op === 'Input') return `${node.op}:${node.dtype}:${node.shape}`;
    if (node.op === 'Constant') return node.data!.length <= 64 ? node.key! : `Constant#${node.id}`;
    const attributes = Object.keys(node.attributes).length === 0 ? '' : JSON.stringify(node.attributes);
    return `${node.op}(${node.inputs.map((x) => (x === null ? '' : index.get(x))).join()})${attributes}${node.body?.structure ?? ''}:${node.shape}`;
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
    const a = node.inputs[0]!.shape;
    return size * (node.attributes.transA === 1 ? a[a.length - 2]! : a[a.length - 1]!);
  }
  if (node.op !== 'Conv' && node.op !== 'ConvTranspose') return 0;
  const [x, weights] = node.inputs as [Node, Node];
  // Each output of a convolution, and each input of a transposed one, meets all weights of its channel.
  return ((node.op === 'Conv' ? size : sizeOf(x.shape)) * sizeOf(weights.shape)) / weights.shape[0]!;
}

/** The model of a graph. `Leaf` and `Input` nodes become its inputs, or with `bakeLeaves` leaves become constants. */
export function lower(order: readonly Node[], outputs: readonly Node[], name: string, bakeLeaves: boolean): Uint8Array {
  const names = new Map(order.map((node, position) => [node, nameOf(position)]));
  const isInput = (node: Node): boolean => node.op === 'Input' || (node.op === 'Leaf' && !bakeLeaves);
  const graph = emit(order, names, isInput);
  graph.inputs = order.filter(isInput).map((node) => valueOf(names.get(node)!, node));
  graph.outputs = outputs.map((node) => valueOf(names.get(node)!, node));
  return encodeModel(graph, name);
}

const valueOf = (name: string, { dtype, shape }: Node): OnnxValue => ({ name, dtype, shape });

/** Operators and stored constants of a graph. */
function emit(order: readonly Node[], names: ReadonlyMap<Node, string>, isInput: (node: Node) => boolean): OnnxGraph {
  const graph: OnnxGraph = { nodes: [], inputs: [], outputs: [], initializers: [] };
  const results = new Map<Node, string[]>();
  for (const node of order) {
    const name = names.get(node)!;
    if (isInput(node)) continue;
    if (node.op === 'Leaf' || node.op === 'Constant') graph.initializers.push({ ...valueOf(name, node), data: node.data as HostArray });
    else if (node.op === 'Output') results.get(node.inputs[0]!)![node.attributes.index as number] = name;
    else {
      const { results: count, ...attributes } = node.attributes as Record<string, number>;
      const { body } = node;
      // An output that nobody reads may go without a name, but not that of a loop.
      const unread = (_: unknown, i: number): string => (body === undefined ? '' : `${name}.unread${i}`);
      const outputNames = count === undefined ? [name] : Array.from({ length: count }, unread);
      if (count !== undefined) results.set(node, outputNames);
      const inputs = node.inputs.map((x) => (x === null ? '' : names.get(x)!));
      graph.nodes.push({
        op: node.op,
        domain: node.domain,
        // What a body uses from outside it names itself.
        inputs: body === undefined ? inputs : inputs.slice(0, body.own),
        outputs: outputNames,
        attributes: body === undefined ? attributes : { ...attributes, body: { graph: emitBody(body, name, inputs) } },
      });
    }
  }
  return graph;
}

/** An inner graph. Its names begin with that of the operator; the inputs beyond its own have the names they have outside. */
function emitBody(body: Body, prefix: string, outside: readonly string[]): OnnxGraph {
  const { inputs, outputs, own } = body;
  const order = [...new Set([...inputs, ...topological(outputs)])];
  const names = new Map(order.map((node, position) => [node, `${prefix}.${nameOf(position)}`]));
  for (let i = own; i < inputs.length; i++) names.set(inputs[i]!, outside[i]!);
  const graph = emit(order, names, (node) => node.op === 'Input');
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
