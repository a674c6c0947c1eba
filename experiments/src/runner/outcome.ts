import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensors } from '@atelier/tensor/node';
import { tensorsHash } from './checkpoint.ts';
import { metricsOf } from './run-data.ts';
import { readClaims } from './run-context.ts';

/** Keys whose values are times, which no two runs share. */
const TIMES: ReadonlySet<string> = new Set(['ms', 'msPerStep']);

/**
 * What a run has computed, as a hash for each file: weights and states of every checkpoint, metrics, pictures, and the measured claims. Equal runs have equal
 * outcomes; times, dates, ids and the temporary files of a process do not count.
 *
 * @param timed ids of claims that measure times; they do not count either
 * @throws StopError if a file of the run is damaged
 */
export async function outcomeOf(folder: string, timed: readonly string[] = []): Promise<Record<string, string>> {
  const out: Record<string, string> = {};
  for (const file of filesOf(folder, 'checkpoints')) {
    const { tensors, metadata } = await readSafetensors(join(folder, file));
    out[file] = tensorsHash(tensors, textWithoutTimes(JSON.parse(metadata['state'] ?? 'null')));
  }
  for (const file of [...filesOf(folder, 'samples'), ...filesOf(folder, 'figures')]) out[file] = sha256(readFileSync(join(folder, file)));
  out['metrics.jsonl'] = sha256(textWithoutTimes(metricsOf(folder)));
  for (const { id, measured, detail } of readClaims(folder))
    if (!timed.includes(id)) out[`claims.json: ${id}`] = `${measured}${detail === undefined ? '' : ` (${detail})`}`;
  return out;
}

/** The parts in which two outcomes differ, sorted. */
export function differences(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): string[] {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].filter((part) => a[part] !== b[part]).sort();
}

function filesOf(folder: string, name: string): string[] {
  const place = join(folder, name);
  return existsSync(place)
    ? readdirSync(place)
        .sort()
        .map((file) => `${name}/${file}`)
    : [];
}

const textWithoutTimes = (value: unknown): string => JSON.stringify(value, (key, part: unknown) => (TIMES.has(key) ? undefined : part));

const sha256 = (content: Uint8Array | string): string => createHash('sha256').update(content).digest('hex');
