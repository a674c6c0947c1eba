import { createRequire } from 'node:module';
import type { Node } from './graph.ts';
import { emit, feedsOfCall, nameOf, topological, valueOf } from './lower.ts';
import { encodeModel } from './onnx.ts';

/** A graph with the names of its arguments and results, in their order. */
export interface NamedGraph {
  name: string;
  inputs: readonly { name: string; node: Node }[];
  outputs: readonly { name: string; node: Node }[];
}

const { name: producer, version } = createRequire(import.meta.url)('../package.json') as { name: string; version: string };

/**
 * The bytes of an `.onnx` file. Every argument is an input, used or not. Every result is an output, even if it is an argument, a constant,
 * or equal to another result. The metadata contains names, shapes and types as JSON (`atelier.inputs` and `atelier.outputs`).
 * @throws Error if a name is used twice among the arguments and results
 */
export function exportModel({ name, inputs, outputs }: NamedGraph): Uint8Array {
  const taken = new Set<string>();
  for (const { name: one } of [...inputs, ...outputs]) {
    if (one === '') throw new Error(`onnx ${name}: wanted a name for every argument and result, got an empty one`);
    if (taken.has(one)) throw new Error(`onnx ${name}: wanted every name once, got '${one}' twice`);
    taken.add(one);
  }
  // Names inside the graph get a prefix that no argument or result has.
  let prefix = '';
  while ([...taken].some((one) => one.startsWith(`${prefix}v`))) prefix += '_';
  const order = [...new Set([...inputs.map(({ node }) => node), ...topological(outputs.map(({ node }) => node))])];
  const names = new Map(order.map((node, position) => [node, prefix + nameOf(position)]));
  for (const input of inputs) names.set(input.node, input.name);
  const graph = emit(order, names, feedsOfCall);
  graph.inputs = inputs.map((input) => valueOf(input.name, input.node));
  graph.outputs = outputs.map((output) => {
    graph.nodes.push({ op: 'Identity', domain: '', inputs: [names.get(output.node)!], outputs: [output.name], attributes: {} });
    return valueOf(output.name, output.node);
  });
  const described = (values: NamedGraph['inputs']): string =>
    JSON.stringify(values.map(({ name: one, node: { shape, dtype } }) => ({ name: one, shape, dtype })));
  return encodeModel(graph, name, {
    producer,
    version,
    properties: {
      'atelier.graph': name,
      'atelier.made': `compile of ${producer} ${version}`,
      'atelier.inputs': described(inputs),
      'atelier.outputs': described(outputs),
    },
  });
}
