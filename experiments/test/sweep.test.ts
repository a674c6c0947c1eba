import type { ChildProcess } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { readSafetensors } from '@atelier/tensor/node';
import { beforeAll, describe, expect, it } from 'vitest';
import { differences, outcomeOf } from '../src/index.ts';
import { experiments } from '../src/registry.ts';
import { readRecords } from '../src/runner/kept-run.ts';
import { runSweep } from '../src/sweep/run-sweep.ts';
import { LiveTable } from '../src/sweep/live-table.ts';
import { planSweep } from '../src/sweep/sweep-plan.ts';
import { ofShard, parseShard } from '../src/sweep/shard.ts';
import { here, inChild, once, onlyRun, readJson, temporaryFolder } from './child.ts';
import { linearRegression } from './linear-regression.ts';

const labels = (words: string[], way?: 'grid' | 'list') => planSweep(linearRegression, 'smoke', words, way).jobs.map(({ label }) => label);

describe('the runs of a sweep', () => {
  it('are every combination, the last key first', () => {
    expect(labels(['steps=10,20', 'learningRate=0.1', 'seed=0..2'])).toEqual([
      'steps=10 seed=0',
      'steps=10 seed=1',
      'steps=10 seed=2',
      'steps=20 seed=0',
      'steps=20 seed=1',
      'steps=20 seed=2',
    ]);
  });

  it('are pairs with --list', () => {
    expect(labels(['steps=10,20', 'seed=3..4', 'learningRate=0.2'], 'list')).toEqual(['steps=10 seed=3', 'steps=20 seed=4']);
  });

  it('keep commas inside of brackets and quotes', () => {
    expect(labels(['ratios=[0.1, 0.2],[0.3]'])).toEqual(['ratios=[0.1, 0.2]', 'ratios=[0.3]']);
    expect(planSweep(linearRegression, 'smoke', ['data={size: 8, noise: 0}']).jobs).toHaveLength(1);
  });

  it.each([
    [['steps=10,20', 'seed=0..2'], 'list', 'sweep: wanted as many values of each key for --list, got 2 and 3'],
    [['steps=10,10'], 'grid', "sweep: wanted different runs, got 'steps=10' and 'steps=10', which have the same configuration"],
    [['steps=10,x'], 'grid', "linear-regression: 'steps': wanted a whole number, got 'x'"],
    [['stesp=10,20'], 'grid', "unknown key of linear-regression 'stesp': the nearest is 'steps'"],
    [['seed=4..0'], 'grid', "linear-regression: 'seed': wanted a range from the smaller to the larger number, got 4..0"],
    [['seed=0..99999'], 'grid', 'sweep: wanted at most 10000 runs, got 100000'],
    [['seed=0..999', 'steps=1,2,3,4,5,6,7,8,9,10,11'], 'grid', 'sweep: wanted at most 10000 runs, got 11000'],
  ] as const)('%j with %s are refused', (words, way, sentence) => {
    expect(() => planSweep(linearRegression, 'smoke', words, way)).toThrow(sentence);
  });

  it('fall into disjoint shards that are all of them together', () => {
    const all = labels(['seed=0..9']);
    const shards = [1, 2, 3, 4].map((index) => ofShard(all, { index, count: 4 }));
    expect(shards.flat().sort()).toEqual([...all].sort());
    for (const wrong of ['0/4', '5/4', '1', '1/0', 'a/b', '1/4/2']) expect(() => parseShard(wrong)).toThrow('--shard: wanted i/n');
  });
});

describe('a sweep of several processes', () => {
  const words = ['linear-regression', 'steps=20,40', 'seed=0..1', '--processes', '2'];
  const runs = temporaryFolder();
  let ended: Awaited<ReturnType<typeof inChild>>;
  beforeAll(async () => {
    ended = await inChild(['sweep', ...words], runs);
  });

  it('ends with a table of means and spreads', () => {
    expect(ended).toMatchObject({ code: 0, err: '' });
    expect(ended.out).toContain('4 runs, 4 to do, 2 side by side with 1 thread each');
    const table = ended.out.slice(ended.out.indexOf('| steps'));
    expect(table).toMatch(/^\| steps \| runs \| weights +\|\n\|[-|]+\|\n\| 20 +\| 2 +\| \S+ ± \S+ +\|\n\| 40 +\| 2 +\| \S+ ± \S+ +\|\n$/);
  });

  it('has runs with the bits of runs made alone', async () => {
    const alone = temporaryFolder();
    expect(await here(['run', 'linear-regression', 'steps=40', 'seed=1', '--threads', '1'], alone)).toMatchObject({ code: 0 });
    const twin = readRecords(runs).find(({ config, seed }) => config['steps'] === 40 && seed === 1)!;
    expect(differences(await outcomeOf(join(runs, twin.id)), await outcomeOf(onlyRun(alone)))).toEqual([]);
  });

  it('keeps what is finished, and runs it again only if asked or if the code has changed', async () => {
    const copy = temporaryFolder();
    cpSync(runs, copy, { recursive: true });
    /** What a sweep would do: its processes end at once. */
    const plan = async (keys: string[], repeat = false): Promise<string> => {
      let text = '';
      const request = {
        experiment: 'linear-regression',
        preset: 'smoke',
        words: keys,
        runs: copy,
        engine: {},
        way: 'grid',
        repeat,
      } as const;
      const screen = { write: (more: string) => void (text += more) };
      const signal = new AbortController().signal;
      await runSweep([linearRegression], request, { signal, screen, program: [process.execPath, '-e', '', '--'] });
      return text;
    };
    expect(await plan(['steps=20,40', 'seed=0..1'])).toContain('4 runs, 0 to do');
    const [id] = readdirSync(copy).filter((name) => name.startsWith('linear'));
    const file = join(copy, id!, 'run.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace(/"code": "\w+"/, '"code": "0123456789abcdef"'));
    expect(await plan(['steps=20,40', 'seed=0..1'])).toContain('4 runs, 1 to do');
    expect(await plan(['seed=0,1', 'steps=20'], true)).toContain('2 runs, 2 to do');
  });

  it('is compared, and drawn against a key', async () => {
    const out = join(temporaryFolder(), 'chart.png');
    const { code, out: said } = await here(
      ['compare', 'linear-regression', '--metric', 'second.loss', '--against', 'steps', '--out', out],
      runs,
    );
    expect(code).toBe(0);
    expect(said).toContain('second.loss');
    expect([...readFileSync(out).subarray(0, 4)]).toEqual([0x89, 0x50, 0x4e, 0x47]);
    const refused = async (...more: string[]) => (await here(['compare', 'linear-regression', ...more], runs)).err;
    expect(await refused('--metric', 'secnd.loss')).toContain("unknown metric 'secnd.loss': the nearest is 'second.loss'");
    expect(await refused('--against', 'setps')).toContain("unknown key that differs 'setps': the nearest is 'steps'");
    expect((await here(['compare', 'linear-regression'], temporaryFolder())).err).toMatch(
      /^compare: wanted finished runs of linear-regression in /,
    );
  });

  it('is put together from shards, if nothing is missing and nothing is there twice', async () => {
    const [a, b, into] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
    for (const [folder, part] of [
      [a, 0],
      [b, 1],
    ] as const) {
      cpSync(join(runs, 'sweeps'), join(folder, 'sweeps'), { recursive: true });
      // As if two machines had begun within the same second.
      for (const [i, { id }] of readRecords(runs).entries())
        if (i % 2 === part) {
          cpSync(join(runs, id), join(folder, `run-20260101-00000${i - part}`), { recursive: true });
          const file = join(folder, `run-20260101-00000${i - part}`, 'run.json');
          writeFileSync(file, readFileSync(file, 'utf8').replace(id, `run-20260101-00000${i - part}`));
        }
    }
    expect((await here(['merge', a], into)).err).toMatch(/^merge: .*: 2 of 4 runs are missing, the first is 'steps=\d+ seed=\d'\n$/);
    expect(readdirSync(into)).toEqual([]);
    const merged = await here(['merge', a, b], into);
    expect(merged).toMatchObject({ code: 0, err: '' });
    expect(merged.out).toContain('4 runs, none missing, none twice\n4 runs copied');
    expect(
      readRecords(into)
        .map(({ id }) => id)
        .sort(),
    ).toEqual(['run-20260101-000000', 'run-20260101-000000-2', 'run-20260101-000002', 'run-20260101-000002-2']);
    expect((await here(['merge', a], into)).err).toMatch(/^merge: .*: 'steps=\d+ seed=\d' is there 2 times: /);
  });
});

describe('a sweep that is killed', () => {
  it.each(['process', 'group'] as const)('goes on by the same command and ends with the same bits: kill -9 of the %s', async (whom) => {
    const words = ['linear-regression', 'steps=80', 'checkpointSteps=1', 'seed=0..1', '--processes', '2'];
    const runs = temporaryFolder();
    const kill = (child: ChildProcess): void => {
      const poll = setInterval(() => {
        const started = readRecords(runs).filter(({ id }) => existsSync(join(runs, id, 'checkpoints', 'first.safetensors')));
        if (started.length < 2) return;
        clearInterval(poll);
        // Each run holds a lock with the number of its process.
        const pidOf = (id: string): number => readJson(join(runs, id, 'lock'))['pid'] as number;
        if (whom === 'group') for (const { id } of started) process.kill(pidOf(id), 'SIGKILL');
        child.kill('SIGKILL');
      }, 5);
      poll.unref();
    };
    const killed = await inChild(['sweep', ...words], runs, once('begins', kill));
    expect(killed.signal).toBe('SIGKILL');
    expect(readRecords(runs).map(({ status }) => status)).not.toContain('finished');
    const again = await inChild(['sweep', ...words], runs);
    expect(again).toMatchObject({ code: 0, err: '' });
    const records = readRecords(runs);
    expect(records.map(({ status, seed }) => [status, seed]).sort()).toEqual([
      ['finished', 0],
      ['finished', 1],
    ]);
    expect(records.some(({ resumed }) => resumed > 0)).toBe(true);
    const alone = temporaryFolder();
    await here(['run', 'linear-regression', 'steps=80', 'checkpointSteps=1', 'seed=1', '--threads', '1'], alone);
    const twin = records.find(({ seed }) => seed === 1)!;
    expect(differences(await outcomeOf(join(runs, twin.id)), await outcomeOf(onlyRun(alone)))).toEqual([]);
  });

  it('stops all its processes at Ctrl-C, each with a checkpoint', async () => {
    const runs = temporaryFolder();
    // A second Ctrl-C would end the process at once.
    let isTold = false;
    const stopped = await inChild(['sweep', 'linear-regression', 'steps=100000', 'seed=0..2', '--processes', '2'], runs, (child, out) => {
      if ((out.match(/begins/g) ?? []).length === 2 && !isTold) {
        isTold = true;
        void wait(10).then(async () => {
          while (readRecords(runs).filter(({ id }) => existsSync(join(runs, id, 'metrics.jsonl'))).length < 2) await wait(20);
          // A terminal tells all processes.
          for (const { id } of readRecords(runs)) process.kill(readJson(join(runs, id, 'lock'))['pid'] as number, 'SIGINT');
          child.kill('SIGINT');
        });
      }
    });
    expect(stopped.code).toBe(130);
    expect(stopped.err).toMatch(
      /^the sweep was stopped; go on with the same command: .*sweep linear-regression smoke steps=100000 seed=0\.\.2/,
    );
    expect(readRecords(runs).map(({ status }) => status)).toEqual(['interrupted', 'interrupted']);
  });

  it('reports a run that fails after all others', async () => {
    const runs = temporaryFolder();
    const { code, err, out } = await inChild(['sweep', 'linear-regression', 'learningRate=0.1,10', 'steps=300', '--processes', '1'], runs);
    expect(code).toBe(1);
    expect(err).toMatch(/^1 of 2 runs failed; go on with the others by the same command: /);
    expect(out).toMatch(/2\/2 {2}learningRate=10 {2} ?failed after \d+ s: .*loss is (Infinity|NaN) at step \d+/);
  });
});

describe('the table of a sweep', () => {
  it('redraws itself on a terminal, and lets no run move the cursor', () => {
    let text = '';
    const table = new LiveTable({ isTTY: true, columns: 60, write: (more) => void (text += more) }, ['seed=0', 'note=\u001b[2J']);
    table.begin(0);
    table.begin(1);
    table.tell(1, 'loss\u001b[31m 3\u0007');
    table.end(0, 'failed', 'a\nb');
    table.end(1, 'finished', 'report');
    table.close();
    expect(text).toContain('note=\\u001b[2J');
    const codes = [...text.matchAll(/\u001b\[[^A-Za-z]*[A-Za-z]/g)].map(([code]) => code.replace(/\d+A/, 'nA'));
    expect([...new Set(codes)].sort()).toEqual(['\u001b[2K', '\u001b[J', '\u001b[nA'].sort());
    expect(text).toContain('1/2  seed=0          failed after 0 s: a\\u000ab\n');
    expect(text.trimEnd().endsWith('1 finished, 1 failed')).toBe(true);
    for (const line of text.split('\n')) expect(line.replaceAll(/\u001b\[\d*[A-Z]|\r/g, '').length).toBeLessThan(60);
  });
});

describe('samples in shards', () => {
  const runs = temporaryFolder();
  beforeAll(async () => {
    const words = ['parts=[gaussian]', 'gaussian={width: 16, depth: 1, samples: 64, manySteps: 2, training: {steps: 2, batch: 8}}'];
    expect(await here(['run', 'meanflow', 'smoke', ...words], runs, undefined, experiments)).toMatchObject({ code: 0 });
  });

  it('are the same samples however many shards there are; a missing or doubled one is refused', async () => {
    const folder = temporaryFolder();
    const sample = (shard: string, ...more: string[]) =>
      here(
        ['sample', 'meanflow', '--n', '170', '--shard', shard, '--out', join(folder, `${shard.replace('/', '-')}.safetensors`), ...more],
        runs,
        undefined,
        experiments,
      );
    for (const shard of ['1/1', '1/3', '2/3', '3/3']) expect(await sample(shard)).toMatchObject({ code: 0, err: '' });
    const file = (name: string): string => join(folder, `${name}.safetensors`);
    const merge = (out: string, ...names: string[]) => here(['merge', ...names.map(file), '--out', file(out)], runs);
    expect((await merge('three', '3-3', '1-3', '2-3')).out).toContain('170 samples of ');
    await merge('one', '1-1');
    expect(readFileSync(file('three')).equals(readFileSync(file('one')))).toBe(true);
    const { tensors } = await readSafetensors(file('three'));
    expect(tensors['samples']!.shape[0]).toBe(170);
    expect((await merge('x', '3-3', '1-3')).err).toMatch(/^merge: 50 of 170 samples are missing, the first is sample 50\n$/);
    expect((await merge('x', '3-3', '1-3', '2-3', '1-3')).err).toMatch(/^merge: sample 0 is there twice: in .* and in /);
    expect(await sample('1/3', '--seed', '4')).toMatchObject({ code: 0 });
    expect((await merge('x', '3-3', '1-3', '2-3')).err).toMatch(/: 'seed' is '4', and '0' in /);
    expect((await sample('5/5')).err).toContain('170 samples are drawn in 4 parts, so shard 5/5 would be empty');
    expect(existsSync(file('x'))).toBe(false);
    rmSync(file('one'));
  });
});
