import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { writeFileAtomic } from '@atelier/tensor/node';
import { diskError, onDisk } from './errors.ts';

/** Writes a file completely or not at all, and makes its folder if it is missing. @throws StopError if the disk refuses. */
export async function writeFile(path: string, content: Uint8Array | string): Promise<void> {
  onDisk(path, () => mkdirSync(dirname(path), { recursive: true }));
  try {
    await writeFileAtomic(path, content);
  } catch (error) {
    throw diskError(path, error);
  }
}
