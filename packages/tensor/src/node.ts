import { randomUUID } from 'node:crypto';
import { open, rename, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { HostTensor } from './host-tensor.ts';
import { shown } from './shown.ts';
import { encodeSafetensors, parseSafetensors, type Safetensors } from './safetensors.ts';
import { joinShards, parseShardIndex } from './shards.ts';

/**
 * Reads a file with `parseSafetensors`. If the file is an index (`model.safetensors.index.json`), it reads all files of the checkpoint.
 *
 * @throws Error that names the file if it is missing, unreadable or damaged, or if an index does not fit its files
 */
export async function readSafetensors(path: string): Promise<Safetensors> {
  const bytes = await readBytes(path, 'readSafetensors: wanted a readable file');
  if (!path.endsWith('.json')) return parseSafetensors(bytes, path);
  const index = parseShardIndex(new TextDecoder().decode(bytes), path);
  const shards = new Map<string, Safetensors>();
  for (const file of new Set(index.values())) {
    const shard = join(dirname(path), file);
    shards.set(file, parseSafetensors(await readBytes(shard, `${path}: wanted the shard ${shown(file)}`), shard));
  }
  return joinShards(index, shards, path);
}

async function readBytes(path: string, wanted: string): Promise<Uint8Array> {
  try {
    return await readWhole(path);
  } catch (error) {
    throw new Error(`${wanted}, got ${(error as Error).message}`, { cause: error });
  }
}

/** Writes tensors and metadata as one safetensors file, either completely or not at all. */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, HostTensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  await writeFileAtomic(path, encodeSafetensors(tensors, metadata));
}

/**
 * Writes a file so that `path` always holds either the complete old content or the complete new content, also after a crash. The file is written under
 * a temporary name in the same folder, synced, then renamed. On failure the temporary file is removed and `path` is unchanged. The folder must exist.
 */
export async function writeFileAtomic(path: string, content: Uint8Array | string): Promise<void> {
  if (typeof content !== 'string' && !(content instanceof Uint8Array))
    throw new Error(`writeFileAtomic: wanted bytes or text for '${path}', got ${typeof content}`);
  const temporary = `${path}.${randomUUID().slice(0, 8)}.tmp`;
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw new Error(`writeFileAtomic: wanted to write '${path}', got ${(error as Error).message}`, { cause: error });
  }
  await syncFolder(dirname(resolve(path)));
}

/** Makes the rename durable, if the system can sync a folder (Windows cannot). */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

/** Reads in parts, because `fs.readFile` cannot read more than 2 GiB, and large checkpoints are larger. */
async function readWhole(path: string): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const bytes = new Uint8Array((await file.stat()).size);
    let at = 0;
    while (at < bytes.length) {
      const { bytesRead } = await file.read(bytes, at, Math.min(bytes.length - at, 2 ** 30), at);
      if (bytesRead === 0) throw new Error(`'${path}' ending after ${at} of ${bytes.length} bytes`);
      at += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}
