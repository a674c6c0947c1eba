import { readFileSync } from 'node:fs';
import { parseJson } from '@atelier/tensor';
import type { z } from 'zod';
import { parseConfig } from './config.ts';
import { onDisk, onText, StopError } from './errors.ts';

/** Reads a JSON file and checks it against a schema. @throws StopError that names the file if it cannot be read, is no JSON, or does not fit */
export function readJson<T>(path: string, schema: z.ZodType<T>): T {
  const text = onDisk(path, () => readFileSync(path, 'utf8'));
  const plain = onText(() => parseJson(text, path));
  // A schema leaves out a key of this name without a word.
  if (namesPrototype(plain)) throw new StopError(`${path}: wanted no key '__proto__', got one`);
  return parseConfig(path, schema, plain);
}

const namesPrototype = (value: unknown): boolean =>
  value !== null && typeof value === 'object' && (Object.hasOwn(value, '__proto__') || Object.values(value).some(namesPrototype));
