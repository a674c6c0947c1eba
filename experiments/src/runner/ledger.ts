import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { boundText, claimRecordSchema, howText, type ClaimRecord, type Verdict } from './claims.ts';
import { parseConfig, resolveConfig } from './config.ts';
import { onDisk, sentence, StopError } from './errors.ts';
import type { ClaimDefinition, Experiment } from './experiment.ts';
import { readClaims } from './run-context.ts';
import { runIds } from './run-folder.ts';

/** One line of the ledger: what one preset measured of a claim, or why nothing is measured. */
export interface LedgerRow {
  readonly definition: ClaimDefinition;
  /** How it is measured, at the sizes of the run; of the shortest preset where there is no run. */
  readonly how: string;
  readonly bound: string;
  readonly verdict: Verdict;
  /** The newest measurement of the preset. */
  readonly record?: ClaimRecord;
  /** Of all computations of unchanged presets: how many there are and how many reproduced the claim. */
  readonly computations: number;
  readonly reproduced: number;
}

export interface LedgerPart {
  readonly experiment: Experiment;
  readonly rows: readonly LedgerRow[];
}

/** What all runs of a folder measured, oldest first; what is damaged is left out and told. */
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

/** What a ledger file (`results.json`) holds. @throws StopError if there is none or it is damaged. */
function readLedger(path: string): ClaimRecord[] {
  const text = onDisk(path, () => readFileSync(path, 'utf8'));
  let plain: unknown;
  try {
    plain = JSON.parse(text);
  } catch {
    throw new StopError(`${path}: wanted JSON, got '${text.slice(0, 40)}'`);
  }
  return parseConfig(path, z.array(claimRecordSchema), plain);
}

/**
 * The ledger in a file with new records added: nothing that was measured is ever dropped, and the record of a run that is there already is replaced by
 * the new reading of the same run. Records of changed configurations stay out.
 */
export function mergeLedger(path: string, records: readonly ClaimRecord[]): { all: ClaimRecord[]; added: number } {
  const known = existsSync(path) ? readLedger(path) : [];
  const key = ({ experiment, id, run }: ClaimRecord): string => `${experiment} ${id} ${run}`;
  const all = new Map(known.map((record) => [key(record), record]));
  for (const record of records) if (!record.changed) all.set(key(record), record);
  return { all: [...all.values()].sort((a, b) => a.date.localeCompare(b.date)), added: all.size - known.length };
}

/**
 * The ledger over records, oldest first: every claim of every experiment has its row. Only unchanged presets count (another seed is no change), and a
 * record counts only if its bound is still the one that the experiment states, so that a bound changed later does not keep an old verdict.
 */
export function ledgerOf(experiments: readonly Experiment[], records: readonly ClaimRecord[]): LedgerPart[] {
  return experiments.map((experiment) => ({
    experiment,
    rows: experiment.claims.flatMap((definition) =>
      rowsOf(
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

function rowsOf(experiment: Experiment, definition: ClaimDefinition, records: readonly ClaimRecord[]): LedgerRow[] {
  const bound = boundText(definition.bound);
  const newest = Object.keys(experiment.presets).flatMap((preset) => records.filter((record) => record.preset === preset).slice(-1));
  const different = computations(records);
  const reproduced = different.filter(({ verdict }) => verdict === 'reproduced').length;
  const tally = { computations: different.length, reproduced };
  if (newest.length > 0) return newest.map((record) => ({ definition, how: record.how, bound, verdict: record.verdict, record, ...tally }));
  const [shortest] = definition.presets;
  const how = shortest === undefined ? definition.how : howText(definition, resolveConfig(experiment, shortest, []));
  return [{ definition, how, bound, verdict: 'outOfReach' in definition.bound ? 'out of reach' : 'not measured', ...tally }];
}

/**
 * Records without repetitions of one computation: runs of one seed that have the same configuration, or that found the very same number (presets share
 * parts), say the same thing.
 */
function computations(records: readonly ClaimRecord[]): ClaimRecord[] {
  const different: ClaimRecord[] = [];
  for (const record of records) {
    const same = (other: ClaimRecord): boolean =>
      other.seed === record.seed &&
      (other.measured === record.measured || (other.configHash !== undefined && other.configHash === record.configHash));
    if (!different.some(same)) different.push(record);
  }
  return different;
}
