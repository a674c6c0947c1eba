import { toTensor, unflattenTree, type Tree } from '@atelier/tensor';
import type { GoldenFile } from '@atelier/testkit';

/**
 * A metadata text that lists one tuple a case, `(a,b)=[(1, 2), (3, (4, 5))]` or without names `[(1, 2)]`, as numbers: inner tuples are spread.
 *
 * @throws Error if it is of another form or lists nothing
 */
export function tuples(file: GoldenFile, key: string): number[][] {
  const text = file.metadata[key] ?? '';
  const list = /=?\s*(\[.*\])\s*$/.exec(text)?.[1];
  const cases = list === undefined ? [] : (JSON.parse(list.replaceAll('(', '[').replaceAll(/,?\)/g, ']')) as (number | number[])[][]);
  if (cases.length === 0) throw new Error(`${file.name}: ${key}: wanted a list of tuples, got '${text}'`);
  return cases.map((entry) => entry.flat());
}

/** Parameters below a prefix, without the index tables and masks that the official modules keep among their weights. */
export function parametersOf(file: GoldenFile, prefix: string): Tree {
  const leaves = Object.entries(file.tensors(prefix)).filter(([name]) => !/(relative_position_index|attn_mask)$/.test(name));
  return unflattenTree(Object.fromEntries(leaves.map(([name, host]) => [name, toTensor(host)])));
}
