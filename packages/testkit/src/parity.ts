import { tf } from '@atelier/tensor';
import { describe, it } from 'vitest';
import { everyEngine, testOn } from './engines.ts';
import { golden, type Golden, type GoldenFile } from './golden.ts';

/** Compares one golden file with the package, and returns the number of cases (or tensors) compared. */
export type ParityCheck = (file: GoldenFile, all: Golden) => number;
/** A check; or a check with the reason why it takes too long on an engine that is not fast, for every file or for a given one. */
export type ParityEntry = ParityCheck | { check: ParityCheck; slow: string | ((file: GoldenFile) => string | undefined) };
export type ParityOptions = {
  /** Beginnings of file names that are not checked here. Each one says which package checks these files, or why they are not checked. */
  elsewhere?: Readonly<Record<string, string>>;
};

/** Assigns golden files to checks by the beginning of the file name. If several beginnings fit, the longest one decides. */
export interface ParityPlan {
  /** Files to check, each with the beginning that selected its check. */
  ours: { name: string; prefix: string }[];
  /** Files that are checked elsewhere. */
  others: string[];
  /** Files that no beginning fits. */
  unknown: string[];
  /** Beginnings that fit no file. */
  absent: string[];
}

/** @throws Error if the same beginning is both checked here and said to be checked elsewhere, or if nothing is checked */
export function parityPlan(names: readonly string[], checked: readonly string[], elsewhere: readonly string[]): ParityPlan {
  const both = checked.find((prefix) => elsewhere.includes(prefix));
  if (both !== undefined) throw new Error(`parity: wanted '${both}' to be checked here or elsewhere, got both`);
  if (checked.length === 0) throw new Error('parity: wanted a check, got none');
  const plan: ParityPlan = { ours: [], others: [], unknown: [], absent: [] };
  for (const name of names) {
    const [prefix] = [...checked, ...elsewhere].filter((one) => name.startsWith(one)).sort((a, b) => b.length - a.length);
    if (prefix === undefined) plan.unknown.push(name);
    else if (checked.includes(prefix)) plan.ours.push({ name, prefix });
    else plan.others.push(name);
  }
  plan.absent = checked.filter((prefix) => !plan.ours.some((one) => one.prefix === prefix));
  return plan;
}

/** Runs one check on one file. @throws Error if a value is out of bounds, if the file holds no tensor, or if it yields no case */
export function checkParity(check: ParityCheck, name: string, all: Golden): void {
  const file = all.load(name);
  file.keys();
  const scope = tf.engine();
  scope.startScope();
  try {
    const cases = check(file, all);
    if (!(cases > 0)) throw new Error(`parity: wanted at least one case in '${name}', got ${cases}`);
  } finally {
    scope.endScope();
  }
}

/**
 * Declares the tests that compare a package with the official numbers in the golden files of `slug`, on every engine: one test per file. A file that no
 * beginning fits fails, and so do a beginning without a file, an empty file, and a file without cases. `golden` says where files are searched.
 */
export function paritySuite(slug: string, checks: Readonly<Record<string, ParityEntry>>, { elsewhere = {} }: ParityOptions = {}): void {
  const all = golden(slug);
  const plan = parityPlan(all.files(), Object.keys(checks), Object.keys(elsewhere));
  const kinds = [...Object.keys(checks), ...Object.entries(elsewhere).map(([prefix, who]) => `${prefix} (${who})`)].join(', ');
  describe(`parity with the official numbers of ${slug}`, () => {
    for (const name of plan.unknown)
      it(name, () => {
        throw new Error(`parity: wanted a check for '${name}' of ${all.dir}, got only ${kinds}`);
      });
    for (const prefix of plan.absent)
      it(prefix, () => {
        throw new Error(`parity: wanted files that begin with '${prefix}' in ${all.dir}, got only ${all.files().join(', ')}`);
      });
    everyEngine((engine) => {
      for (const { name, prefix } of plan.ours) {
        const entry = checks[prefix]!;
        const { check, slow } = typeof entry === 'function' ? { check: entry, slow: undefined } : entry;
        // If the file is damaged, the test itself reports it.
        const reason = typeof slow === 'function' ? readable(() => slow(all.load(name))) : slow;
        testOn(engine, name, reason === undefined ? {} : { fast: reason }, () => checkParity(check, name, all));
      }
    });
  });
}

function readable(read: () => string | undefined): string | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
