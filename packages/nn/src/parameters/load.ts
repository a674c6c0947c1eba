import { toTensor, unflattenTree, type HostTensor, type Tree } from '@atelier/tensor';
import type { ParameterTable } from './init.ts';

/** Tensors of a state dict by name, as `parseSafetensors` gives them. */
export type StateDict = Readonly<Record<string, HostTensor>>;

/**
 * The parameters of a table from a state dict of just these names. The caller owns them.
 *
 * @throws Error naming the first tensor that is not in the table, missing, or of another type or shape
 */
export function parametersFrom(tensors: StateDict, table: ParameterTable, where: string): Tree {
  for (const name of Object.keys(tensors))
    if (!Object.hasOwn(table, name)) throw new Error(`${where}: wanted only parameters of this network, got '${name}'`);
  const leaves = Object.entries(table).map(([name, { shape }]) => {
    const host = tensors[name];
    if (host === undefined) throw new Error(`${where}: wanted parameter '${name}', got none of that name`);
    if (host.dtype !== 'float32' || host.shape.join() !== shape.join())
      throw new Error(`${where}: ${name}: wanted float32 [${shape.join(', ')}], got ${host.dtype} [${host.shape.join(', ')}]`);
    return [name, host] as const;
  });
  // Nothing can fail any more, so no tensor is left behind.
  return unflattenTree(Object.fromEntries(leaves.map(([name, host]) => [name, toTensor(host)])));
}
