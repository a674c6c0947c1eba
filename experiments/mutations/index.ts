import { commands } from './commands.ts';
import { cifar, features, idx, npz, pictures, statistics } from './files.ts';
import { jobs } from './jobs.ts';
import { Mutator } from './mutator.ts';
import { readCase, type MutatedKind } from './read.ts';
import { claims, locks, metrics, sweepPlans } from './run-files.ts';
import { configurations, overrides, runRecords, sweepWords } from './settings.ts';
import { checkpoints, safetensors, sampleShards, shardedSafetensors } from './tensors.ts';

/** Every kind of input that the product reads. A new kind of file gets its place here. */
export const mutatedKinds: readonly MutatedKind[] = [
  overrides,
  sweepWords,
  configurations,
  runRecords,
  metrics,
  checkpoints,
  claims,
  locks,
  sweepPlans,
  jobs,
  sampleShards,
  pictures,
  safetensors,
  shardedSafetensors,
  idx,
  cifar,
  npz,
  statistics,
  features,
  commands,
];

/** The number of cases of each kind, of `all` cases together. */
export function casesOf({ share }: MutatedKind, all: number): number {
  return Math.max(1, Math.round((all * share) / mutatedKinds.reduce((sum, kind) => sum + kind.share, 0)));
}

/** What became of the cases of one kind. */
export interface MutatedResult {
  readonly kind: string;
  readonly tried: number;
  readonly refused: number;
  readonly accepted: number;
  /** For each fault the number of its case, what was wrong, and the input. */
  readonly faults: readonly { readonly index: number; readonly fault: string; readonly input: string }[];
}

/**
 * Reads `count` mutated inputs of one kind, from number `from` on. Each follows from the seed, the kind and its number alone.
 *
 * @param folder empty, for the files that are read
 * @param before is called before each case
 */
export async function readMutated(
  kind: MutatedKind,
  { seed, count, folder, from = 0 }: { seed: number; count: number; folder: string; from?: number },
  before: (index: number) => void = () => {},
): Promise<MutatedResult> {
  const draw = await kind.open(folder);
  const counts = { refused: 0, accepted: 0 };
  const faults: MutatedResult['faults'][number][] = [];
  for (let index = from; index < from + count; index++) {
    before(index);
    const one = draw(new Mutator(seed, kind.name, index));
    const { outcome, fault } = await readCase(one);
    counts[outcome]++;
    if (fault !== undefined) faults.push({ index, fault, input: shown(one.input) });
  }
  return { kind: kind.name, tried: count, ...counts, faults };
}

/** The beginning of an input: a text as JSON, bytes in hexadecimal digits. */
const shown = (input: Uint8Array | string): string =>
  typeof input === 'string' ? JSON.stringify(input.slice(0, 400)) : Buffer.from(input).subarray(0, 200).toString('hex');
