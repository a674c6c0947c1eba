import { join, relative } from 'node:path';
import { workspace } from './machine.ts';

/**
 * A command line as this user can paste it: `npx atelier resume <run>` inside of the workspace, and the path of the program elsewhere. `--runs` is added if
 * the folder of the runs is not the one that the program takes by itself.
 */
export function typedCommand(words: readonly string[], runs?: string, cwd = process.cwd()): string {
  const inside = !relative(workspace, cwd).startsWith('..');
  const program = inside ? ['npx', 'atelier'] : ['node', join(workspace, 'experiments', 'bin', 'atelier.mjs')];
  const place = runs === undefined || runs === defaultRuns() ? [] : ['--runs', relative(cwd, runs) || '.'];
  return [...program, ...words, ...place].map(quoted).join(' ');
}

/** The folder of the runs if none is named: `ATELIER_RUNS`, or `runs` of the workspace. */
export const defaultRuns = (): string => process.env['ATELIER_RUNS'] ?? join(workspace, 'runs');

const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);
