import { tf } from '@atelier/tensor';
import { describe, it } from 'vitest';
import { everyEngine, testOn } from './engines.ts';
import { golden, type Golden, type GoldenFile } from './golden.ts';

/** Compares one golden file with the package, and gives the number of cases (or of tensors) that it compared. */
export type ParityCheck = (file: GoldenFile, all: Golden) => number;
/** A check, or one with the reason why it takes too long on an engine that is not fast: always, or for a given file. */
export type ParityEntry = ParityCheck | { check: ParityCheck; slow: string | ((file: GoldenFile) => string | undefined) };
export type ParityOptions = {
  /** Beginnings of file names that are not checked here, each with who checks them or why nobody does. */
  elsewhere?: Readonly<Record<string, string>>;
};

/** Which golden file belongs to which check: by the beginning of its name; the longest beginning that fits counts. */
export interface ParityPlan {
  /** Files to check and the beginning that they are checked under. */
  ours: { name: string; prefix: string }[];
  /** Files that are checked elsewhere. */
  others: string[];
  /** Files of no known kind. */
  unknown: string[];
  /** Kinds without a file. */
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
 * Declares the tests that compare a package with the official numbers in the golden files of `slug`, on every engine: one test per file. A file
 * of no known kind fails, and so do a kind without a file, an empty file, and a file that yields no case. See `golden` for where files are looked up.
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
        // A damaged file is left to the test itself, which says so.
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
