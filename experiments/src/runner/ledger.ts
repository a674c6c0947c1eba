import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { deviation, mean } from 'd3-array';
import { z } from 'zod';
import { claimRecordSchema, howText, judge, type ClaimRecord, type Verdict } from './claims.ts';
import { configHash, resolveConfig } from './config.ts';
import { sentence } from './errors.ts';
import { readJson } from './read-json.ts';
import type { ClaimDefinition, Experiment } from './experiment.ts';
import { readClaims } from './run-context.ts';
import { runIds } from './run-folder.ts';

/** What one preset measured of a claim. */
export interface Measurement {
  readonly preset: string;
  /** The newest record of every seed, in the order of the seeds; only of runs of the preset as it is now, if there are any. */
  readonly seeds: readonly ClaimRecord[];
  /** All other records, oldest first: of the same seeds, or of the preset as it was before. */
  readonly older: readonly ClaimRecord[];
  /** Mean over the seeds, and their standard deviation if there are several. */
  readonly mean: number;
  readonly spread?: number;
  /** Seeds whose own number is within the bound. */
  readonly within: number;
  /** The verdict on the mean. */
  readonly verdict: Verdict;
}

/** A claim in the ledger. */
export interface LedgerRow {
  readonly definition: ClaimDefinition;
  /** How it is measured, with the sizes of the run that decides, or of the shortest preset if there is no run. */
  readonly how: string;
  /** That of `decides`, `out of reach` or `not measured`. */
  readonly verdict: Verdict;
  /** What each preset measured, in the order of the presets. */
  readonly measurements: readonly Measurement[];
  /** The measurement of the last of these presets, which is the largest one. */
  readonly decides?: Measurement;
}

export interface LedgerPart {
  readonly experiment: Experiment;
  readonly rows: readonly LedgerRow[];
}

/** The records of all runs in a folder, oldest first. Damaged records are left out and reported. */
export function recordsOf(runs: string, warn: (text: string) => void): ClaimRecord[] {
  return runIds(runs).flatMap((id) => {
    try {
      return readClaims(join(runs, id));
    } catch (error) {
      warn(`left out: ${sentence(error)}`);
      return [];
    }
  });
}

/** The records in a ledger file (`results.json`). @param options.missing what to return if there is no file @throws StopError if it is damaged, or missing */
export function readLedger(path: string, { missing }: { missing?: ClaimRecord[] } = {}): ClaimRecord[] {
  if (missing !== undefined && !existsSync(path)) return missing;
  return readJson(path, z.array(claimRecordSchema));
}

/**
 * Adds new records to those of a ledger file. No measured record is ever dropped. If the file already has a record of the same run, the new one replaces
 * it. Records of changed configurations are not added.
 */
export function mergeLedger(path: string, records: readonly ClaimRecord[]): { all: ClaimRecord[]; added: number } {
  const known = readLedger(path, { missing: [] });
  const key = ({ experiment, id, run }: ClaimRecord): string => `${experiment} ${id} ${run}`;
  const all = new Map(known.map((record) => [key(record), record]));
  for (const record of records) if (!record.changed) all.set(key(record), record);
  return { all: [...all.values()].sort((a, b) => a.date.localeCompare(b.date)), added: all.size - known.length };
}

/**
 * The ledger made from records, oldest first: every claim of every experiment has one row. Only unchanged presets count (another seed is not a change). A
 * record counts only if its bound is still that of the experiment, so an old verdict is not kept after a bound has changed.
 */
export function ledgerOf(experiments: readonly Experiment[], records: readonly ClaimRecord[]): LedgerPart[] {
  return experiments.map((experiment) => ({
    experiment,
    rows: experiment.claims.map((definition) =>
      rowOf(
        experiment,
        definition,
        records.filter((record) => counts(experiment, definition, record)),
      ),
    ),
  }));
}

/** Records that no row shows, because the code no longer states their claim, their preset or their bound. */
export function unshown(experiments: readonly Experiment[], records: readonly ClaimRecord[]): ClaimRecord[] {
  return records.filter((record) =>
    experiments.every((experiment) => experiment.claims.every((definition) => !counts(experiment, definition, record))),
  );
}

function counts(experiment: Experiment, definition: ClaimDefinition, record: ClaimRecord): boolean {
  return (
    record.experiment === experiment.name &&
    record.id === definition.id &&
    record.preset in experiment.presets &&
    !record.changed &&
    JSON.stringify(record.bound) === JSON.stringify(definition.bound)
  );
}

function rowOf(experiment: Experiment, definition: ClaimDefinition, records: readonly ClaimRecord[]): LedgerRow {
  const measurements = Object.keys(experiment.presets).flatMap((preset) => {
    const own = records.filter((record) => record.preset === preset);
    return own.length === 0 ? [] : [measurementOf(experiment, definition, preset, own)];
  });
  const decides = measurements.at(-1);
  if (decides !== undefined) return { definition, how: decides.seeds.at(-1)!.how, verdict: decides.verdict, measurements, decides };
  const [shortest] = definition.presets;
  const how = shortest === undefined ? definition.how : howText(definition, resolveConfig(experiment, shortest, []));
  return { definition, how, verdict: 'outOfReach' in definition.bound ? 'out of reach' : 'not measured', measurements };
}

function measurementOf(experiment: Experiment, definition: ClaimDefinition, preset: string, records: readonly ClaimRecord[]): Measurement {
  const asNow = records.filter(({ configHash: hash, seed }) => hash === configHash(resolveConfig(experiment, preset, [`seed=${seed}`])));
  const newest = new Map((asNow.length > 0 ? asNow : records).map((record) => [record.seed, record]));
  const seeds = [...newest.values()].sort((a, b) => a.seed - b.seed);
  const numbers = seeds.map(({ measured }) => measured);
  const spread = deviation(numbers);
  return {
    preset,
    seeds,
    older: records.filter((record) => !seeds.includes(record)),
    mean: mean(numbers)!,
    ...(spread !== undefined && { spread }),
    within: numbers.filter((number) => judge(definition, number) === 'reproduced').length,
    verdict: judge(definition, mean(numbers)!),
  };
}
