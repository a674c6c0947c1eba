import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { reasonFor } from './accepted.ts';
import type { SpecResult } from './suite.ts';

/** What became of one spec on `ort`: `absent` ones the suite defines on `cpu` only. */
export interface Outcome {
  group: string;
  name: string;
  status: 'passed' | 'failed' | 'skipped';
  passesOnCpu: boolean;
  /** Why it is accepted that it does not pass. */
  reason?: string;
  /** First failure. */
  message?: string;
}

/** The suite on one backend, in a process of its own. */
export async function runInChild(backend: string): Promise<SpecResult[]> {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-conformance-'));
  const file = join(folder, 'results.json');
  const here = dirname(fileURLToPath(import.meta.url));
  try {
    await new Promise<void>((resolve, reject) => {
      const child = spawn(process.execPath, ['--import', 'tsx', join(here, 'child.ts'), backend, file], {
        cwd: join(here, '..'),
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let errors = '';
      child.stderr.on('data', (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-4000)));
      child.on('error', reject);
      child.on('exit', (code) =>
        code === 0 ? resolve() : reject(new Error(`conformance: wanted the suite to run on ${backend}, got exit code ${code}: ${errors}`)),
      );
    });
    return JSON.parse(readFileSync(file, 'utf8')) as SpecResult[];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Every spec that `cpu` has, with its outcome on `ort`. */
export function compare(cpu: readonly SpecResult[], ort: readonly SpecResult[]): Outcome[] {
  const key = ({ group, name }: SpecResult): string => `${group}\n${name}`;
  // Names repeat: the n-th spec of a name on one backend is the n-th on the other.
  const waiting = new Map<string, SpecResult[]>();
  for (const spec of ort) waiting.set(key(spec), [...(waiting.get(key(spec)) ?? []), spec]);
  return cpu.map((spec) => {
    const { group, name } = spec;
    const mine = waiting.get(key(spec))?.shift();
    const status = mine === undefined || mine.status === 'pending' ? 'skipped' : mine.status === 'passed' ? 'passed' : 'failed';
    const reason = status === 'passed' ? undefined : reasonFor(group, name);
    return {
      group,
      name,
      status,
      passesOnCpu: spec.status === 'passed',
      ...(reason === undefined ? {} : { reason }),
      ...(mine?.message === undefined ? {} : { message: mine.message }),
    };
  });
}

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

export function count(outcomes: readonly Outcome[]): Counts {
  const of = (status: Outcome['status']): number => outcomes.filter((outcome) => outcome.status === status).length;
  return { passed: of('passed'), failed: of('failed'), skipped: of('skipped') };
}
