import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { writeFileAtomic } from '@atelier/tensor/node';
import type { NamedBytes } from './gzip.ts';

/** Where a reader looks for its files; both default to the environment. */
export type Places = {
  /** Folder of data that is already on the machine; `ATELIER_DATA`. */
  dataDir?: string | undefined;
  /** Folder that downloads are kept in; `ATELIER_CACHE`, otherwise ~/.cache/atelier. */
  cacheDir?: string | undefined;
};

/** @throws Error if a folder of data is named that is none: a download in its place would hide a mistyped name. */
export function resolvePlaces({ dataDir = process.env['ATELIER_DATA'], cacheDir = process.env['ATELIER_CACHE'] }: Places): {
  dataDir?: string;
  cacheDir: string;
} {
  if (dataDir) {
    const found = statSync(dataDir, { throwIfNoEntry: false });
    if (!found?.isDirectory())
      throw new Error(
        `data: wanted the folder of the data sets (ATELIER_DATA), got '${dataDir}', which ${found === undefined ? 'does not exist' : 'is a file'}`,
      );
  }
  return { ...(dataDir ? { dataDir } : {}), cacheDir: cacheDir || join(homedir(), '.cache', 'atelier') };
}

export function md5(bytes: Uint8Array): string {
  return createHash('md5').update(bytes).digest('hex');
}

/** The bytes of a file, or undefined where there is none. */
export async function readIfThere(path: string): Promise<NamedBytes | undefined> {
  try {
    return { bytes: await readFile(path), where: path };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * The file at `path` of the cache, fetched from `url` first if it is not there, and checked against `digest` either way.
 *
 * It is written under a temporary name and renamed, and only after the check, so a broken download leaves nothing behind.
 *
 * @param digest md5 in hexadecimal.
 * @throws Error if the server can't be reached or answers with an error, or if the checksum differs.
 */
export async function fetchPinned(url: string, digest: string, path: string): Promise<NamedBytes> {
  const cached = await readIfThere(path);
  if (cached !== undefined) {
    const found = md5(cached.bytes);
    if (found !== digest) throw new Error(`${path}: wanted md5 ${digest}, got ${found}; remove the file to download it again`);
    return cached;
  }
  let bytes: Uint8Array;
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`status ${response.status}`);
    bytes = new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    const { message, cause } = error as Error;
    const reason = cause instanceof Error ? `${message} (${cause.message})` : message;
    throw new Error(`download: wanted ${url}, got ${reason}; set ATELIER_DATA to a folder that holds the file to do without`, {
      cause: error,
    });
  }
  const found = md5(bytes);
  if (found !== digest) throw new Error(`download: wanted md5 ${digest} from ${url}, got ${found} (${bytes.length} bytes)`);
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, bytes);
  return { bytes, where: path };
}
