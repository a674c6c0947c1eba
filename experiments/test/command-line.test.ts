import type { ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { here, inChild, once, onlyRun, readJson, temporaryFolder } from './child.ts';
import { linearRegression } from './linear-regression.ts';

/** What a refused command prints: exactly one line on stderr, code 1, and no run folder. */
async function refusal(...words: string[]): Promise<string> {
  const runs = join(temporaryFolder(), 'runs');
  const { code, out, err } = await here(words, runs);
  expect(code).toBe(1);
  expect(out).toBe('');
  expect(existsSync(runs) ? readdirSync(runs) : []).toEqual([]);
  expect(err.endsWith('\n') && err.trimEnd().split('\n').length).toBe(1);
  expect(err).not.toMatch(/^\s+at /m);
  return err.trimEnd();
}

describe('words that are unknown: the nearest is named', () => {
  it.each([
    [['rnu'], "unknown command 'rnu': the nearest is 'run'"],
    [['run', 'linear-regresion'], "unknown experiment 'linear-regresion': the nearest is 'linear-regression'"],
    [['run', 'linear-regression', 'ful'], "unknown preset of linear-regression 'ful': the nearest is 'full' (there are smoke, full)"],
    [['run', 'linear-regression', 'stesp=3'], "unknown key of linear-regression 'stesp': the nearest is 'steps'"],
    [['run', 'linear-regression', 'full', 'data.sise=8'], "unknown key of linear-regression 'data.sise': the nearest is 'data.size'"],
    [['run', 'linear-regression', 'noise=1'], "unknown key of linear-regression 'noise': the nearest is 'data.noise'"],
    [['run', 'linear-regression', 'data={sizee: 8}'], "unknown key of linear-regression 'data.sizee': the nearest is 'data.size'"],
    [['run', 'linear-regression', '--thread', '3'], "unknown option '--thread': the nearest is '--threads'"],
    [['run', 'linear-regression', '--engine', 'gpu'], "useEngine: wanted one of ort, cpu, wasm, webgl, tensorflow, got 'gpu'"],
    [['list', 'linear'], "unknown experiment 'linear': the nearest is 'linear-regression'"],
    [['resume', 'yesterday'], 'unknown run in'],
  ])('%j', async (words, wanted) => {
    expect(await refusal(...words)).toContain(wanted);
  });
});

describe('words that are nearly right', () => {
  it.each([
    [['run', 'linear-regression', '--seed=1'], "'--seed' is no option but a key of linear-regression: write seed=1"],
    [['run', 'linear-regression', '--data.size', '8'], "'--data.size' is no option but a key of linear-regression: write data.size=8"],
    [['runs', 'claen'], "unknown action of runs 'claen': the nearest is 'clean'"],
    [['run', 'linear-regression', '--device=cuda'], "ort: device 'cuda' needs libonnxruntime_providers_cuda.so, which is not installed"],
  ])('%j', async (words, wanted) => {
    expect(await refusal(...words)).toContain(wanted);
  });
});

describe('values of the wrong type or out of range: path, wanted, got', () => {
  it.each([
    ['steps=many', "linear-regression: 'steps': wanted a whole number, got 'many'"],
    ['steps=', "linear-regression: 'steps': wanted a whole number, got null"],
    ['steps=2.5', "linear-regression: 'steps': wanted a whole number, got 2.5"],
    ['steps=0', "linear-regression: 'steps': wanted a whole number >= 1, got 0"],
    ['steps=[1, 2]', "linear-regression: 'steps': wanted a whole number, got [1,2]"],
    ['steps=.nan', "linear-regression: 'steps': wanted a whole number, got NaN"],
    ['learningRate=0', "linear-regression: 'learningRate': wanted a number > 0, got 0"],
    ['learningRate=11', "linear-regression: 'learningRate': wanted a number <= 10, got 11"],
    ['learningRate=1e400', "linear-regression: 'learningRate': wanted a number, got Infinity"],
    ['data.size=-1', "linear-regression: 'data.size': wanted a whole number >= 4, got -1"],
    ['data=5', "linear-regression: 'data': wanted a group of keys, got 5"],
    ['ratios=[0.5, 2]', "linear-regression: 'ratios.1': wanted a number <= 1, got 2"],
    ['ratios=0.5', "linear-regression: 'ratios': wanted a list, got 0.5"],
    ['mode=fast', "linear-regression: 'mode': wanted one of 'plain', 'momentum', got 'fast'"],
    ['seed=-1', "linear-regression: 'seed': wanted a whole number >= 0, got -1"],
    ['steps=[', "linear-regression: 'steps': wanted a value in YAML, got '['"],
    ['=3', "linear-regression: wanted key=value, got '=3'"],
    ['full', "linear-regression: wanted key=value, got 'full'"],
  ])('%s', async (word, wanted) => {
    expect(await refusal('run', 'linear-regression', 'smoke', word)).toBe(wanted);
  });
});

describe('a disk that refuses', () => {
  it('names the file in the way of the runs folder', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'file'), '');
    const { code, err } = await here(['run', 'linear-regression'], join(folder, 'file', 'runs'));
    expect(code).toBe(1);
    expect(err).toBe(`${join(folder, 'file', 'runs')}: a part of the path is a file, not a folder\n`);
  });

  it.skipIf(!existsSync('/dev/full'))('that is full stops the run in one sentence (skipped where there is no /dev/full)', async () => {
    const runs = temporaryFolder();
    const { code, err } = await here(['run', 'linear-regression', 'trouble=full disk', 'troubleAt=7'], runs);
    expect(code).toBe(1);
    expect(err).toBe(`${join(onlyRun(runs), 'metrics.jsonl')}: the disk is full\n`);
    expect(readJson(join(onlyRun(runs), 'run.json'))).toMatchObject({ status: 'failed', reason: err.trimEnd() });
  });

  it('stops a run whose folder gets something in the way, leaves nothing half-written, and the run can go on', async () => {
    const runs = temporaryFolder();
    const { code, err } = await here(['run', 'linear-regression', 'trouble=file in the way', 'troubleAt=7'], runs);
    const run = onlyRun(runs);
    expect(code).toBe(1);
    expect(err).toBe(`${join(run, 'samples', 'second-step-000020.png')}: a part of the path is a file, not a folder\n`);
    expect(readdirSync(run, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.tmp') || name === 'lock')).toEqual([]);
    expect(existsSync(join(run, 'claims.json'))).toBe(false);
    rmSync(join(run, 'samples'));
    expect(await here(['resume', run], runs)).toMatchObject({ code: 0, err: '' });
  });
});

describe('a run that fails before it has any result', () => {
  it('leaves no folder behind', async () => {
    const runs = temporaryFolder();
    const fails = { ...linearRegression, run: () => Promise.reject(new Error('nothing was ready')) };
    expect(await here(['run', 'linear-regression'], runs, undefined, [fails])).toMatchObject({ code: 1, err: 'nothing was ready\n' });
    expect(readdirSync(runs)).toEqual([]);
  });
});

describe('runs', () => {
  it('lists them with their status; clean removes the failed and the empty ones', async () => {
    const runs = temporaryFolder();
    expect((await here(['runs'], runs)).out).toBe(`runs: none in ${runs}\n`);
    await here(['run', 'linear-regression'], runs);
    const finished = onlyRun(runs);
    const copies = { failed: 'linear-regression-smoke-21000101-000000', running: 'linear-regression-smoke-21000102-000000' };
    for (const [status, id] of Object.entries(copies)) {
      cpSync(finished, join(runs, id), { recursive: true });
      const record = { ...readJson(join(finished, 'run.json')), status, ...(status === 'failed' && { reason: 'first: loss is NaN' }) };
      writeFileSync(join(runs, id, 'run.json'), JSON.stringify(record));
    }
    // A folder whose run.json is gone, an empty one, and one that is not of a run.
    for (const name of ['linear-regression-smoke-20200101-000000', 'linear-regression-smoke-20200102-000000', 'notes'])
      mkdirSync(join(runs, name));
    writeFileSync(join(runs, 'linear-regression-smoke-20200101-000000', 'metrics.jsonl'), '{"series":"a","step":1}\n');
    const listed = (await here(['runs'], runs)).out;
    expect(listed.replace(/\d{8}-\d{6}(-\d)?/g, 'T')).toMatch(
      /^linear-regression-smoke-T +damaged:.*\n( .*\n)*linear-regression-smoke-T +damaged, empty:.*\n( .*\n)*linear-regression-smoke-T +finished\nlinear-regression-smoke-T +failed: first: loss is NaN\nlinear-regression-smoke-T +killed\ngo on with: npx atelier resume linear-regression-smoke-T --runs \S+\n$/,
    );
    const { code, out } = await here(['runs', 'clean'], runs);
    expect(code).toBe(0);
    expect(out.match(/^linear-regression-smoke-/gm)).toHaveLength(2);
    expect(readdirSync(runs).sort()).toHaveLength(4);
    expect(existsSync(finished)).toBe(true);
    expect((await here(['resume', 'linear-regression-smoke-20200101'], runs)).err).toContain('unknown run in');
    expect((await here(['resume', 'linear-regression-smoke-20200101-000000'], runs)).err).toContain(
      'wanted a run.json in the folder of a run, got none; without it the run cannot go on, so start it again',
    );
  });
});

describe('an output that nobody reads, and a terminal that is gone', () => {
  it('list into a closed pipe ends without a word', async () => {
    const { code, err } = await inChild(['list', 'linear-regression'], temporaryFolder(), undefined, undefined, (child) =>
      child.stdout!.destroy(),
    );
    expect({ code, err }).toEqual({ code: 0, err: '' });
  });

  it.each([
    ['the reader of a pipe', (child: ChildProcess) => void child.stdout!.destroy()],
    ['the terminal (SIGHUP)', (child: ChildProcess) => void child.kill('SIGHUP')],
  ])('a run that loses %s writes a checkpoint and says how it goes on', async (_, lose) => {
    const runs = temporaryFolder();
    const { code, err } = await inChild(
      ['run', 'linear-regression', 'steps=100000', 'checkpointSteps=100000'],
      runs,
      once('first: 100000 steps', lose),
    );
    expect(code, err).toBe(130);
    expect(err).toMatch(/; go on with: npx atelier resume linear-regression-smoke-\S+ --runs \S+\n$/);
    expect(readJson(join(onlyRun(runs), 'run.json'))['status']).toBe('interrupted');
    expect(existsSync(join(onlyRun(runs), 'checkpoints', 'first.safetensors'))).toBe(true);
  });
});

describe('a loss that is not finite', () => {
  it('stops the run and names the step and the last good checkpoint', async () => {
    const runs = temporaryFolder();
    const { code, err } = await here(['run', 'linear-regression', 'steps=2000', 'learningRate=10'], runs);
    expect(code).toBe(1);
    const [, loss, step, good] =
      /^first: loss is (NaN|Infinity) at step (\d+); the last good checkpoint is checkpoints\/first\.safetensors at step (\d+)\n$/.exec(
        err,
      ) ?? [];
    expect(loss, err).toBeDefined();
    expect(Number(good)).toBeLessThan(Number(step));
    expect(Number(good) % 5).toBe(0);
    expect(readJson(join(onlyRun(runs), 'run.json'))).toMatchObject({ status: 'failed', reason: err.trimEnd() });
    expect(readFileSync(join(onlyRun(runs), 'metrics.jsonl'), 'utf8')).not.toMatch(/null|NaN|Infinity/);
  });
});

describe('what commands print', () => {
  it('list: experiments, and the keys of one in every preset', async () => {
    const { code, out } = await here(['list'], temporaryFolder());
    expect(code).toBe(0);
    expect(out).toMatch(
      /^linear-regression +Linear regression by gradient descent \(arXiv 0000\.00000\)\n +presets smoke, full; 2 claims\n$/,
    );
    const one = await here(['list', 'linear-regression'], temporaryFolder());
    expect(one.out).toMatch(/^presets: smoke, full$/m);
    expect(one.out).toMatch(/^data\.size +32 \(smoke\); 64 \(full\)$/m);
    expect(one.out).toMatch(/^seed +0$/m);
    expect(one.out).toContain('weights: Least squares recovers the weights. [≤ 0.1; measured by smoke, full]');
    expect(Math.max(...one.out.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
    expect(one.out).toContain('comets: The orbits of comets follow. [out of reach]');
  });

  it('run: plain lines, the claims with their verdicts, and where the report is', async () => {
    const runs = temporaryFolder();
    const { code, out } = await here(['run', 'linear-regression', 'full', 'steps=50', 'note=007'], runs);
    expect(code).toBe(0);
    expect(out).toMatch(/^first: 50\/50 {2}loss \S+ {2}\S+ ms\/step$/m);
    expect(out).toMatch(/^✓ weights +\S+ +\(≤ 0\.1\) +reproduced: Least squares recovers the weights\.$/m);
    expect(out).toContain(join(onlyRun(runs), 'report.html').slice(-20));
    expect(readJson(join(onlyRun(runs), 'run.json'))).toMatchObject({
      preset: 'full',
      config: { steps: 50, data: { size: 64 }, note: '007' },
    });
  });

  it('a claim that fails its bound is reported as such and is no error', async () => {
    const runs = temporaryFolder();
    const { code, out } = await here(['run', 'linear-regression', 'steps=1', 'mode=plain'], runs);
    expect(code).toBe(0);
    expect(out).toContain('✗ weights');
    expect(out).toContain('not reproduced: Least squares');
  });

  it('without words: the help, and only ATELIER_DEBUG brings a stack trace', async () => {
    const help = vi.spyOn(console, 'info').mockImplementation(() => {});
    expect((await here([], temporaryFolder())).code).toBe(0);
    expect((await here(['--help'], temporaryFolder())).code).toBe(0);
    expect(help.mock.calls.map(([text]) => String(text).includes('run <experiment> [...words]'))).toEqual([true, true]);
    help.mockRestore();
    vi.stubEnv('ATELIER_DEBUG', '1');
    const { err } = await here(['run', 'nothing'], temporaryFolder());
    vi.unstubAllEnvs();
    expect(err).toMatch(/^StopError: unknown experiment/);
    expect(err).toMatch(/\n {4}at /);
  });

  it('a process of its own ends with the code', async () => {
    const { code, out, err } = await inChild(['run', 'linear-regression', 'steps=zero'], temporaryFolder());
    expect({ code, out, err }).toEqual({ code: 1, out: '', err: "linear-regression: 'steps': wanted a whole number, got 'zero'\n" });
  });
});

describe('doctor', () => {
  it('tries the engines and the folder, and fails only over what runs need', async () => {
    const good = await here(['doctor'], join(temporaryFolder(), 'runs'));
    expect(good.code, good.out).toBe(0);
    expect(good.out).toMatch(/^ok +engine ort +starts and multiplies$/m);
    expect(good.out).toMatch(/^ok +engine cpu +starts and multiplies$/m);
    expect(good.out).toMatch(
      /^ok +ort threads +\d+ for a graph, \d+ beside the caller's after one product, at most \d+ for all graphs together/m,
    );
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    vi.stubEnv('ATELIER_DATA', '/no/such/folder');
    const bad = await here(['doctor'], join(file, 'runs'));
    vi.unstubAllEnvs();
    expect(bad.code).toBe(1);
    expect(bad.out).toContain(`BAD     runs               ${join(file, 'runs')}: a part of the path is a file, not a folder`);
    expect(bad.out).toContain('BAD     ATELIER_DATA       /no/such/folder: no such folder');
  });
});
