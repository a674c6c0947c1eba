import { basename } from 'node:path';
import type { Safetensors } from './safetensors.ts';

/** For each tensor of a checkpoint in several files, the name of its file. */
export type ShardIndex = ReadonlyMap<string, string>;

/**
 * Reads the text of a `model.safetensors.index.json`: `{ "weight_map": { "<tensor>": "<file in the same folder>" } }`.
 *
 * @throws Error with one sentence if the text has another form or names a file outside of its folder
 */
export function parseShardIndex(text: string, where: string): ShardIndex {
  let index: unknown;
  try {
    index = JSON.parse(text);
  } catch (error) {
    throw new Error(`${where}: wanted an index in JSON, got text that is not (${(error as Error).message})`);
  }
  const map = (index as { weight_map?: unknown } | null)?.weight_map;
  if (map === null || typeof map !== 'object' || Array.isArray(map) || Object.keys(map).length === 0)
    throw new Error(`${where}: wanted { weight_map: { tensor: file } }, got ${JSON.stringify(map) ?? 'none'}`);
  for (const [name, file] of Object.entries(map))
    if (typeof file !== 'string' || file === '' || file !== basename(file) || file === '..' || file.includes('\\'))
      throw new Error(`${where}: weight_map: ${name}: wanted the name of a file beside the index, got ${JSON.stringify(file)}`);
  return new Map(Object.entries(map as Record<string, string>));
}

/**
 * Joins the files of a checkpoint (`shards`, by file name) into one, with the metadata of all files.
 * @throws Error if the files do not fit the index
 */
export function joinShards(index: ShardIndex, shards: ReadonlyMap<string, Safetensors>, where: string): Safetensors {
  const tensors: Safetensors['tensors'] = {};
  for (const [name, file] of index) {
    const found = shards.get(file)!.tensors;
    if (!Object.hasOwn(found, name)) throw new Error(`${where}: wanted tensor '${name}' in '${file}', got a file without it`);
    tensors[name] = found[name]!;
  }
  for (const [file, shard] of shards)
    for (const name of Object.keys(shard.tensors))
      if (index.get(name) !== file) throw new Error(`${where}: wanted only tensors that weight_map puts into '${file}', got '${name}'`);
  return { tensors, metadata: Object.assign({}, ...[...shards.values()].map((shard) => shard.metadata)) as Record<string, string> };
}
