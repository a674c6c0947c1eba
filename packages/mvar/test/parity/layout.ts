import { tf, unflattenTree, toTensor, type HostTensor, type Tensor, type Tree } from '@atelier/tensor';
import type { GoldenFile } from '@atelier/testkit';

/** Images and latents of the files are [B, C, H, W]; ours are [B, H, W, C]. */
export const channelsLast = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 3, 1]);
export const channelsFirst = (x: Tensor): Tensor => tf.transpose(x, [0, 3, 1, 2]);

/** Tensors by name as a tree. */
export const treeOf = (hosts: Readonly<Record<string, HostTensor>>): Tree =>
  unflattenTree(Object.fromEntries(Object.entries(hosts).map(([name, host]) => [name, toTensor(host)])));

/** A metadata value that is JSON. @throws Error if it is absent */
export function json<T>(file: GoldenFile, key: string): T {
  const text = file.metadata[key];
  if (text === undefined) throw new Error(`${file.name}: wanted metadata '${key}', got none`);
  // Python writes its constants, tuples and quotes another way.
  const plain = text
    .replaceAll("'", '"')
    .replaceAll('(', '[')
    .replaceAll(/,?\)/g, ']')
    .replaceAll('True', 'true')
    .replaceAll('False', 'false');
  return JSON.parse(plain) as T;
}
