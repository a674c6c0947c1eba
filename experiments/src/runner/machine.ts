import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { arch, cpus, platform, totalmem } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tf } from '@atelier/tensor';

/** The top folder of the workspace. */
export const workspace = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');

/** `Linux x64, 2 × Intel Xeon 2.20GHz, 8 GB` */
export function machineName(): string {
  const cores = cpus();
  const model = (cores[0]?.model ?? 'unknown processor')
    .replace(/\((R|TM)\)|CPU|@|\s+/gi, (found) => (found.trim() === '' ? ' ' : ''))
    .replace(/ +/g, ' ');
  return `${platform()} ${arch()}, ${cores.length} × ${model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GB`;
}

/** Free bytes on the disk of a folder, or of the nearest folder above it that exists; Infinity where the system does not tell. */
export function freeDisk(folder: string): number {
  let place = resolve(folder);
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  try {
    const { bavail, bsize } = statfsSync(place);
    return bavail * bsize;
  } catch {
    return Infinity;
  }
}

/** The commit of a repository, with `+` behind it if files other than documents were changed since; `unknown` outside of a repository. */
export function commitName(folder = workspace): string {
  const git = (...words: string[]): string =>
    execFileSync('git', words, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no', '--', ':/', ':(exclude,top)docs') !== '';
    return git('rev-parse', '--short=12', 'HEAD') + (changed ? '+' : '');
  } catch {
    return 'unknown';
  }
}

/** Versions of what the numbers depend on. */
export function versions(): Record<string, string> {
  const require = createRequire(import.meta.url);
  const root = JSON.parse(readFileSync(join(workspace, 'package.json'), 'utf8')) as { version: string };
  const out: Record<string, string> = { atelier: root.version, node: process.versions.node, tfjs: tf.version['tfjs-core'] ?? 'unknown' };
  try {
    const backend = createRequire(require.resolve('@atelier/backend-ort'));
    out['onnxruntime'] = (backend('onnxruntime-node/package.json') as { version: string }).version;
  } catch {
    out['onnxruntime'] = 'unknown';
  }
  return out;
}
