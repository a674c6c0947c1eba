import { basename } from 'node:path';
import type { Safetensors } from './safetensors.ts';
import { plainText, shown } from './shown.ts';
import { parseJson } from './strict-json.ts';

/** For each tensor of a checkpoint in several files, the name of its file. */
export type ShardIndex = ReadonlyMap<string, string>;

/** Names that every file system can hold: no separators, not longer than 255 characters; and no control characters (see `plainText`). */
const isFileName = (text: string): boolean => /^[^/\\]{1,255}$/.test(text) && plainText(text) === text;

/**
 * Reads the text of a `model.safetensors.index.json`: `{ "weight_map": { "<tensor>": "<file in the same folder>" } }`.
 *
 * @throws Error with one sentence if the text has another form or names a file outside of its folder
 */
export function parseShardIndex(text: string, where: string): ShardIndex {
  const index = parseJson(text, where);
  const map = (index as { weight_map?: unknown } | null)?.weight_map;
  if (map === null || typeof map !== 'object' || Array.isArray(map) || Object.keys(map).length === 0)
    throw new Error(`${where}: wanted { weight_map: { tensor: file } }, got ${map === undefined ? 'none' : shown(map)}`);
  for (const [name, file] of Object.entries(map))
    if (typeof file !== 'string' || !isFileName(file) || file !== basename(file) || file === '..')
      throw new Error(`${where}: weight_map: ${shown(name)}: wanted the name of a file beside the index, got ${shown(file)}`);
  return new Map(Object.entries(map as Record<string, string>));
}

/**
 * Joins the files of a checkpoint (`shards`, by file name) into one, with the metadata of all files.
 * @throws Error if the files do not fit the index
 */
export function joinShards(index: ShardIndex, shards: ReadonlyMap<string, Safetensors>, where: string): Safetensors {
  const tensors = [...index].map(([name, file]) => {
    const found = shards.get(file)!.tensors;
    if (!Object.hasOwn(found, name)) throw new Error(`${where}: wanted tensor ${shown(name)} in ${shown(file)}, got a file without it`);
    return [name, found[name]!] as const;
  });
  for (const [file, shard] of shards)
    for (const name of Object.keys(shard.tensors))
      if (index.get(name) !== file)
        throw new Error(`${where}: wanted only tensors that weight_map puts into ${shown(file)}, got ${shown(name)}`);
  // `fromEntries` defines the property even if the name is `__proto__`.
  const metadata = Object.fromEntries([...shards.values()].flatMap((shard) => Object.entries(shard.metadata)));
  return { tensors: Object.fromEntries(tensors), metadata };
}
