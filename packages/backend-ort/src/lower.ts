import { encodeModel, type HostArray, type OnnxGraph } from './onnx.ts';
import { sizeOf, type Node } from './graph.ts';

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
    return `${node.op}(${node.inputs.map((x) => (x === null ? '' : index.get(x))).join()})${attributes}:${node.shape}`;
  });
  return `${parts.join(';')}>${outputs.map((x) => index.get(x)).join()}`;
}

/** The name of a node's value inside a model that was lowered from `order`. */
export const nameOf = (position: number): string => `v${position}`;

/** Floating-point operations of the matrix products and, one each, of the elements of everything else. */
export function workOf(order: readonly Node[]): number {
  let work = 0;
  for (const node of order) {
    const products = multiplyAdds(node);
    if (products > 0) work += 2 * products;
    else if (node.op !== 'Leaf' && node.op !== 'Constant' && node.op !== 'Reshape') work += sizeOf(node.shape);
  }
  return work;
}

/** Multiply-accumulates of a matrix product or a convolution; 0 for everything else. Those with the zeros of a padding count. */
export function multiplyAdds(node: Node): number {
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
  const graph: OnnxGraph = { nodes: [], inputs: [], outputs: [], initializers: [] };
  const names = new Map<Node, string>();
  const results = new Map<Node, string[]>();
  order.forEach((node, position) => {
    const value = { name: nameOf(position), dtype: node.dtype, shape: node.shape };
    names.set(node, value.name);
    if (node.op === 'Input' || (node.op === 'Leaf' && !bakeLeaves)) graph.inputs.push(value);
    else if (node.op === 'Leaf' || node.op === 'Constant') graph.initializers.push({ ...value, data: node.data as HostArray });
    else if (node.op === 'Output') results.get(node.inputs[0]!)![node.attributes.index as number] = value.name;
    else {
      const { results: count, ...attributes } = node.attributes as Record<string, number>;
      const outputNames = count === undefined ? [value.name] : new Array<string>(count).fill('');
      if (count !== undefined) results.set(node, outputNames);
      graph.nodes.push({
        op: node.op,
        domain: node.domain,
        inputs: node.inputs.map((x) => (x === null ? '' : names.get(x)!)),
        outputs: outputNames,
        attributes,
      });
    }
  });
  graph.outputs = outputs.map((node) => ({ name: names.get(node)!, dtype: node.dtype, shape: node.shape }));
  return encodeModel(graph, name);
}
