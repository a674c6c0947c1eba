import type { Graph, Node } from './graph.ts';
import { topological } from './lower.ts';

/**
 * The tanh form of GELU, ½x(1 + tanh(√(2/π)(x + 0.044715x³))) = xσ(a(x + bx³)). With u = λx and λ³ = ab it is uσ(w)/λ, where w = u(u² + a/λ).
 * A derivative reads the gate σ(w) as well. So there are two ways to compute the value: one operator, or the steps that end in the gate.
 */
const a = 2 * Math.sqrt(2 / Math.PI);
const b = 0.044715;
const lambda = Math.cbrt(a * b);

/** The value as one operator: the right choice where nothing else reads the gate. */
export const geluTanh = (g: Graph, x: Node): Node => g.unary('Gelu', x, 'float32', { approximate: 'tanh' });

const isGeluTanh = (node: Node): boolean => node.op === 'Gelu' && node.attributes.approximate === 'tanh';

/** Gate and value by steps. The graph makes equal nodes once, so the gate is the one that a derivative has made, if there is a derivative. */
function geluTanhSteps(g: Graph, x: Node): { gate: Node; value: Node } {
  const u = g.binary('Mul', x, g.scalar(lambda));
  const w = g.binary('Mul', u, g.binary('Add', g.binary('Mul', u, u), g.scalar(a / lambda)));
  const gate = g.unary('Sigmoid', w);
  return { gate, value: g.binary('Mul', g.binary('Mul', u, gate), g.scalar(1 / lambda)) };
}

/** The same outputs. Where a graph holds the gate of a GELU anyway, the value is computed from that gate. */
export function shareGates(g: Graph, outputs: readonly Node[]): readonly Node[] {
  const order = topological(outputs);
  if (!order.some(isGeluTanh)) return outputs;
  const present = new Set(order);
  const renewed = new Map<Node, Node>();
  for (const node of order) {
    const inputs = node.inputs.map((input) => (input === null ? null : renewed.get(input)!));
    const shared = isGeluTanh(node) && present.has(geluTanhSteps(g, node.inputs[0]!).gate);
    renewed.set(node, shared ? geluTanhSteps(g, inputs[0]!).value : g.again(node, inputs));
  }
  return outputs.map((output) => renewed.get(output)!);
}
