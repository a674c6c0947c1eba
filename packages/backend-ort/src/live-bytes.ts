import { sizeOf, type Node } from './graph.ts';
import { topological } from './lower.ts';
import type { OnnxType } from './onnx.ts';

const BYTES: Record<OnnxType, number> = { float32: 4, int32: 4, bool: 1, int64: 8, float64: 8 };
const bytesOf = ({ shape, dtype }: Node): number => sizeOf(shape) * BYTES[dtype];

/** Whether a node's values exist before the first operator: what a call is given, and what stands in the model. */
const isGiven = ({ op }: Node): boolean => op === 'Input' || op === 'Leaf' || op === 'Constant';

/**
 * The most bytes that the tensors of a graph take at one time, if its operators run in this order.
 *
 * What the call is given, the constants and the results are there for the whole call, as the engine keeps them. Every other tensor is there from
 * its operator until the last operator that reads it. A reshaped tensor is the tensor that it was made from. Memory that ONNX Runtime takes besides (a product's
 * packed operand, gaps between blocks) does not count, and no operator writes over its own input.
 *
 * @param order the nodes, each after its inputs
 */
export function liveBytes(order: readonly Node[], results: readonly Node[]): number {
  const kept = new Set(results);
  const source = (node: Node): Node => (node.op === 'Reshape' && !kept.has(node) ? source(node.inputs[0]!) : node);
  const lastUse = new Map<Node, number>();
  const parts = new Map<Node, Node[]>();
  order.forEach((node, position) => {
    for (const input of node.inputs) if (input !== null) lastUse.set(source(input), position);
    if (node.op === 'Output') parts.set(node.inputs[0]!, [...(parts.get(node.inputs[0]!) ?? []), node]);
  });
  const ends = new Map<number, number>();
  let live = 0;
  for (const node of order) if (isGiven(node) || kept.has(node)) live += bytesOf(node);
  let most = live;
  order.forEach((node, position) => {
    if (isGiven(node) || node.op === 'Output' || source(node) !== node) return;
    // All results of an operator with several are made at once.
    for (const made of parts.get(node) ?? [node]) {
      if (kept.has(made)) continue;
      const bytes = bytesOf(made);
      live += bytes;
      const end = Math.max(position, lastUse.get(made) ?? position);
      ends.set(end, (ends.get(end) ?? 0) + bytes);
    }
    most = Math.max(most, live + repeatedBytes(node));
    live -= ends.get(position) ?? 0;
  });
  return most;
}

/** What one repetition of a loop takes besides the loop's own operands and results. */
function repeatedBytes({ body }: Node): number {
  if (body === undefined) return 0;
  const order = topological(body.outputs);
  const outside = new Set(body.inputs.slice(body.own));
  const read = order.reduce((sum, node) => sum + (outside.has(node) ? bytesOf(node) : 0), 0);
  return liveBytes(order, body.outputs) - read;
}
