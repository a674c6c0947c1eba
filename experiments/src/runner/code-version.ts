import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Experiment } from './experiment.ts';
import { workspace } from './machine.ts';
import type { RunRecord } from './run-folder.ts';

type Named = Pick<Experiment, 'name' | 'paper'>;

/** What the numbers of every paper depend on, besides its own folder and its package with all that this needs. */
const SHARED = ['experiments/src/training', 'experiments/src/evaluation', 'experiments/src/data', 'packages/metrics/src', 'datasets/src'];

const known = new Map<string, string>();

/**
 * A hash of the sources that the numbers of a paper depend on, 16 hexadecimal digits. It also tells apart changes that no commit holds. It is computed once
 * in a process, whose code does not change either.
 */
export function codeVersion(experiment: Named): string {
  const before = known.get(experiment.name);
  if (before !== undefined) return before;
  const hash = createHash('sha256');
  for (const folder of [...ownSources(experiment), ...SHARED]) {
    const place = join(workspace, folder);
    if (!existsSync(place)) continue;
    for (const file of readdirSync(place, { recursive: true, encoding: 'utf8' }).sort())
      if (file.endsWith('.ts')) hash.update(`${relative(workspace, join(place, file))}\n`).update(readFileSync(join(place, file)));
  }
  const version = hash.digest('hex').slice(0, 16);
  known.set(experiment.name, version);
  return version;
}

/**
 * Whether what the numbers of a paper depend on is as it was in a run. Runs of today hold a hash of the code; for older ones, git compares the sources with
 * those of their commit. Outside of a repository nothing is known of these, and code is the same.
 */
export function sameCode({ commit, versions }: Pick<RunRecord, 'commit' | 'versions'>, experiment: Named): boolean {
  if (versions['code'] !== undefined) return versions['code'] === codeVersion(experiment);
  if (commit === 'unknown') return true;
  // `+` says that the code had changes that no commit holds.
  if (commit.endsWith('+')) return false;
  try {
    execFileSync('git', ['diff', '--quiet', commit, '--', ...ownSources(experiment)], { cwd: workspace, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** The folder of the experiment, the sources of its package, and those of the packages of the workspace that this needs, down to the engine. */
const ownSources = ({ name, paper }: Named): string[] => [
  `experiments/${name}`,
  ...[paper.slug, ...dependencies(paper.slug)].map((one) => `packages/${one}/src`),
];

/** The packages of the workspace that a package needs, also through others: the engine among them. */
function dependencies(slug: string, found: Set<string> = new Set()): Set<string> {
  const file = join(workspace, 'packages', slug, 'package.json');
  if (!existsSync(file)) return found;
  const { dependencies: needed = {} } = JSON.parse(readFileSync(file, 'utf8')) as { dependencies?: Record<string, string> };
  for (const name of Object.keys(needed)) {
    const own = name.startsWith('@atelier/') ? name.slice('@atelier/'.length) : undefined;
    if (own === undefined || found.has(own)) continue;
    found.add(own);
    dependencies(own, found);
  }
  return found;
}
