import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import type { Experiment } from '../src/runner/experiment.ts';
import { main } from '../src/runner/command-line.ts';
import { readMetrics } from '../src/runner/metrics-file.ts';
import { runIds } from '../src/runner/run-folder.ts';
import { bundled } from '../bin/bundle.mjs';
import { linearRegression } from './linear-regression.ts';

const folders: string[] = [];
// Said here, because a hook that a running test adds is never called.
afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** An empty folder that is gone after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-test-'));
  folders.push(folder);
  return folder;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/**
 * The command line in a process of its own; `watch` gets the process and its output so far whenever there is more; `cli` is a path from here; `begun` gets the
 * process before it has written anything.
 */
export async function inChild(
  words: readonly string[],
  runs: string,
  watch: (child: ChildProcess, out: string) => void = () => {},
  cli = 'linear-regression-cli.ts',
  begun: (child: ChildProcess) => void = () => {},
): Promise<Ended> {
  const script = await bundled(join(import.meta.dirname, cli));
  const child = spawn(process.execPath, [script, ...words, '--runs', runs], { stdio: 'pipe' });
  begun(child);
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => watch(child, (out += chunk.toString())));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  return new Promise((done, failed) => {
    child.on('error', failed);
    child.on('close', (code, signal) => done({ code, signal, out, err }));
  });
}

/** For `watch`: calls `act` when `words` have appeared. */
export function once(words: string, act: (child: ChildProcess) => void): (child: ChildProcess, out: string) => void {
  let done = false;
  return (child, out) => {
    if (done || !out.includes(words)) return;
    done = true;
    act(child);
  };
}

/** The command line in this process. */
export async function here(
  words: readonly string[],
  runs: string,
  signal: AbortSignal = new AbortController().signal,
  experiments: readonly Experiment[] = [linearRegression],
): Promise<Ended> {
  let [out, err] = ['', ''];
  const code = await main([...words, '--runs', runs], experiments, {
    out: { write: (text) => void (out += text) },
    err: { write: (text) => void (err += text) },
    signal,
  });
  return { code, signal: null, out, err };
}

/** The folder of the only run. */
export function onlyRun(runs: string): string {
  const ids = runIds(runs);
  if (ids.length !== 1) throw new Error(`wanted one run in ${runs}, got ${ids.length}`);
  return join(runs, ids[0]!);
}

/** All bytes that training produced: every checkpoint, metrics (but times), pictures. */
export function outcome(run: string): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const name of ['first', 'second', 'stage-evaluate'])
    out[name] = readFileSync(join(run, 'checkpoints', `${name}.safetensors`)).toString('base64');
  out['metrics'] = readMetrics(join(run, 'metrics.jsonl')).map(({ ms, ...line }) => ({ ...line, timed: typeof ms === 'number' }));
  for (const picture of ['samples/first-step-000020.png', 'samples/second-step-000040.png', 'figures/weights.png']) {
    out[picture] = readFileSync(join(run, picture)).toString('base64');
  }
  return out;
}

export const readJson = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
