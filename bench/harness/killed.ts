import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { differences, outcomeOf } from '@atelier/experiments';

const program = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'experiments', 'bin', 'atelier.mjs');

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/** Runs `atelier` in a process group of its own. `begun` gets the process. */
export function atelier(words: readonly string[], runs: string, begun: (child: ChildProcess) => void = () => {}): Promise<Ended> {
  const child = spawn(process.execPath, [program, ...words, '--runs', runs], { stdio: 'pipe', detached: true });
  begun(child);
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  return new Promise((done, failed) => {
    child.on('error', failed);
    child.on('close', (code, signal) => done({ code, signal, out, err }));
  });
}

/** The same, with `kill -9` after some milliseconds: of the process alone, or of all that it has started. */
export function atelierKilled(words: readonly string[], runs: string, afterMs: number, whom: 'process' | 'group'): Promise<Ended> {
  return atelier(words, runs, (child) => {
    const timer = setTimeout(() => process.kill(whom === 'group' ? -child.pid! : child.pid!, 'SIGKILL'), afterMs);
    child.on('exit', () => clearTimeout(timer));
  });
}

/** The run folders in a folder of runs by the hash of their configuration; several of one configuration are an error. */
export function runsByConfig(runs: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const id of existsSync(runs) ? readdirSync(runs) : []) {
    const file = join(runs, id, 'run.json');
    if (!existsSync(file)) continue;
    const { configHash } = JSON.parse(readFileSync(file, 'utf8')) as { configHash: string };
    if (found.has(configHash)) throw new Error(`${runs}: ${found.get(configHash)} and ${id} have the same configuration`);
    found.set(configHash, id);
  }
  return found;
}

/** What differs between the runs of two folders, and what a killed process has left behind. Empty where all is as it should be. */
export async function faults(wanted: string, got: string, timed: readonly string[]): Promise<string[]> {
  const [reference, found] = [runsByConfig(wanted), runsByConfig(got)];
  const out: string[] = [];
  for (const [hash, id] of reference) {
    const other = found.get(hash);
    if (other === undefined) {
      out.push(`${id}: has no counterpart`);
      continue;
    }
    const [a, b] = [join(wanted, id), join(got, other)];
    for (const part of differences(await outcomeOf(a, timed), await outcomeOf(b, timed))) out.push(`${other}: ${part} differs`);
    const { status } = JSON.parse(readFileSync(join(b, 'run.json'), 'utf8')) as { status: string };
    if (status !== 'finished') out.push(`${other}: is ${status}`);
    for (const file of readdirSync(b, { recursive: true, encoding: 'utf8' }))
      if (file.endsWith('.tmp') || file === 'lock') out.push(`${other}: ${file} is left`);
  }
  return out;
}
