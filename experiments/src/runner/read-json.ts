import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { parseConfig } from './config.ts';
import { onDisk, StopError } from './errors.ts';

/** Reads a JSON file and checks it against a schema. @throws StopError that names the file if it cannot be read, is no JSON, or does not fit */
export function readJson<T>(path: string, schema: z.ZodType<T>): T {
  const text = onDisk(path, () => readFileSync(path, 'utf8'));
  let plain: unknown;
  try {
    plain = JSON.parse(text);
  } catch {
    throw new StopError(`${path}: wanted JSON, got ${text === '' ? 'an empty file' : `'${text.slice(0, 40)}'`}`);
  }
  return parseConfig(path, schema, plain);
}
