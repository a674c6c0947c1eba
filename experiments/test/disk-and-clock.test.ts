import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../src/runner/command-line.ts';
import { runIds } from '../src/runner/run-folder.ts';
import { bundled } from '../bin/bundle.mjs';
import { here, onlyRun, outcome, readJson, temporaryFolder } from './child.ts';
import { linearRegression } from './linear-regression.ts';

const WORDS = ['run', 'linear-regression', 'seed=3'];

const reference = temporaryFolder();
let wanted: Record<string, unknown>;
beforeAll(async () => {
  expect(await here(WORDS, reference)).toMatchObject({ code: 0, err: '' });
  wanted = outcome(onlyRun(reference));
});

/** Expects one sentence and code 1, and then that the run goes on to the same bits when there is room again. */
async function expectNothingLost(failed: { code: number | null; err: string }, runs: string, why: string): Promise<void> {
  expect(failed.err.trimEnd().split('\n')).toEqual([expect.stringContaining(why)]);
  expect(failed.code).toBe(1);
  const run = onlyRun(runs);
  expect(readdirSync(run, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.tmp'))).toEqual([]);
  expect(await here(['resume', run], runs)).toMatchObject({ code: 0, err: '' });
  expect(outcome(run)).toEqual(wanted);
}

/** The command line in a process whose files may not become larger than some KiB. */
async function limited(kib: number, words: readonly string[]): Promise<{ code: number | null; err: string }> {
  const script = await bundled(join(import.meta.dirname, 'linear-regression-cli.ts'));
  const child = spawn('bash', ['-c', `ulimit -f ${kib}; exec "$@"`, 'bash', process.execPath, script, ...words], { stdio: 'pipe' });
  let err = '';
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  child.stdout.resume();
  return new Promise((done) => child.on('close', (code) => done({ code, err })));
}

describe.skipIf(process.platform !== 'linux')('a disk that takes no more in the middle of a run (needs Linux)', () => {
  it('gives one sentence, and the run goes on later: files of 2 KiB at most', async () => {
    const runs = temporaryFolder();
    await expectNothingLost(await limited(2, [...WORDS, '--runs', runs]), runs, 'the file would be larger than the system allows');
  });
});

/** A file system of its own in memory, which may be small or read-only. Only root can make one. */
const mount = (...words: string[]): boolean => spawnSync('mount', words, { stdio: 'ignore' }).status === 0;
const place = temporaryFolder();
const canMount = mount('-t', 'tmpfs', 'none', place);
if (canMount) spawnSync('umount', [place]);

describe.skipIf(!canMount)('a small or read-only file system (skipped where it cannot be mounted, which needs root)', () => {
  afterEach(() => void spawnSync('umount', [place]));

  it.each([24, 40, 56])('gives one sentence when it is full, and the run goes on when there is room: %i KiB', async (kib) => {
    mount('-t', 'tmpfs', '-o', `size=${kib}k`, 'none', place);
    const runs = join(place, 'runs');
    const failed = await here(WORDS, runs);
    mount('-o', 'remount,size=16m', place);
    await expectNothingLost(failed, runs, 'the disk is full');
  });

  it('gives one sentence when it is read-only, and changes nothing', async () => {
    mount('-t', 'tmpfs', 'none', place);
    const runs = join(place, 'runs');
    mkdirSync(runs);
    expect(await here([...WORDS, 'trouble=file in the way', 'troubleAt=20'], runs)).toMatchObject({ code: 1 });
    const run = onlyRun(runs);
    mount('-o', 'remount,ro', place);
    for (const words of [WORDS, ['resume', run]]) {
      const { code, err } = await here(words, runs);
      expect(err.trimEnd().split('\n')).toEqual([expect.stringContaining('the disk is read-only')]);
      expect(code).toBe(1);
    }
    expect(runIds(runs)).toHaveLength(1);
  });
});

describe('a clock', () => {
  afterEach(() => void vi.useRealTimers());

  it('that jumps back by a day, in a run and before it goes on, changes no bit', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2030-01-02T03:04:05Z') });
    const runs = temporaryFolder();
    const stop = new AbortController();
    const jump = (text: string): void => {
      if (!text.includes('first:')) return;
      vi.setSystemTime(new Date('2030-01-01T03:04:05Z'));
      stop.abort();
    };
    const silent = { write: () => {} };
    const stage = { out: { write: jump }, err: silent, signal: stop.signal };
    expect(await main([...WORDS, '--runs', runs], [linearRegression], stage)).toBe(130);
    const run = onlyRun(runs);
    vi.setSystemTime(new Date('2029-12-31T03:04:05Z'));
    expect(await here(['resume', run], runs)).toMatchObject({ code: 0, err: '' });
    expect(outcome(run)).toEqual(wanted);
    expect(readJson(join(run, 'run.json'))).toMatchObject({ started: '2030-01-02T03:04:05.000Z', ended: '2029-12-31T03:04:05.000Z' });
    // Lists, and the time that the next run will take, are read from such records.
    for (const words of [['list'], ['ledger', 'run', '--dry-run'], ['compare', 'linear-regression']]) {
      const { out, err } = await here(words, runs);
      expect(`${out}${err}`).not.toMatch(/NaN|-\d+ ?s\b|Invalid/);
    }
  });

  it('that stands still gives every run a name of its own', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2030-01-02T03:04:05Z') });
    const runs = temporaryFolder();
    for (let i = 0; i < 2; i++) expect(await here([...WORDS, 'steps=1'], runs)).toMatchObject({ code: 0 });
    expect(new Set(runIds(runs)).size).toBe(2);
  });
});
