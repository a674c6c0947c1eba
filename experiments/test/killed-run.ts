import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensors } from '@atelier/tensor/node';
import { expect } from 'vitest';
import type { ClaimRecord } from '../src/runner/claims.ts';
import { readMetrics } from '../src/runner/metrics-file.ts';
import { runIds } from '../src/runner/run-folder.ts';
import { inChild, once, readJson } from './child.ts';

/** Starts the command line in a process of its own and kills it when the only run in `runs` has logged a step of a series. */
export async function killAfter(step: number, series: string, words: readonly string[], runs: string): Promise<void> {
  const watch = (child: ChildProcess): void => {
    const poll = setInterval(() => {
      const [id] = runIds(runs);
      const path = join(runs, id ?? '', 'metrics.jsonl');
      if (!existsSync(path) || !readFileSync(path, 'utf8').includes(`{"series":"${series}","step":${step},`)) return;
      clearInterval(poll);
      child.kill('SIGKILL');
    }, 2);
    poll.unref();
  };
  const killed = await inChild(words, runs, once('\n', watch), '../src/cli.ts');
  expect(killed.signal).toBe('SIGKILL');
}

/** All weights and states, and all claims but their dates and times and those of the given names. */
export async function weightsAndScores(run: string, without: readonly string[] = []): Promise<Record<string, unknown>> {
  const out: Record<string, unknown> = {};
  for (const file of readdirSync(join(run, 'checkpoints')).sort()) {
    const { tensors, metadata } = await readSafetensors(join(run, 'checkpoints', file));
    out[file] = metadata['state'];
    for (const [path, { shape, data }] of Object.entries(tensors))
      out[`${file} ${path}`] = [shape.join(), Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('hex')];
  }
  const rows = readJson(join(run, 'claims.json')) as unknown as ClaimRecord[];
  out['claims'] = rows.filter(({ id }) => !without.includes(id)).map(({ id, measured, detail }) => ({ id, measured, detail }));
  out['metrics'] = readMetrics(join(run, 'metrics.jsonl')).map(({ ms: _, ...line }) => line);
  return out;
}
