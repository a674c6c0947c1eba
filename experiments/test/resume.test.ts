import { copyFileSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { readMetrics } from '../src/runner/metrics-file.ts';
import { here, inChild, once, onlyRun, outcome, readJson, temporaryFolder } from './child.ts';

describe('a run that is killed and resumed', () => {
  const reference = temporaryFolder();
  let wanted: Record<string, unknown>;
  beforeAll(async () => {
    expect(await inChild(['run', 'linear-regression', 'seed=3'], reference)).toMatchObject({ code: 0, err: '' });
    wanted = outcome(onlyRun(reference));
  });

  it('gives other bits for another seed, so that equal bits mean something', async () => {
    const runs = temporaryFolder();
    expect(await here(['run', 'linear-regression', 'seed=4'], runs)).toMatchObject({ code: 0, err: '' });
    const other = outcome(onlyRun(runs));
    expect(Object.keys(other)).toEqual(Object.keys(wanted));
    expect(other['second']).not.toEqual(wanted['second']);
  });

  it.each([
    ['before the first checkpoint of the second stage', 0],
    ['on a checkpoint', 20],
    ['between two checkpoints, off the log interval', 33],
  ])('ends bit for bit like one that was not: killed %s', async (_, step) => {
    const runs = temporaryFolder();
    const killed = await inChild(['run', 'linear-regression', 'seed=3', 'trouble=kill', `troubleAt=${step}`], runs);
    expect(killed.signal).toBe('SIGKILL');
    const run = onlyRun(runs);
    expect(readJson(join(run, 'run.json'))['status']).toBe('running');
    expect(existsSync(join(run, 'claims.json'))).toBe(false);

    const resumed = await inChild(['resume', run], runs);
    expect(resumed).toMatchObject({ code: 0, err: '' });
    expect(resumed.out).not.toContain('first:');
    expect(resumed.out).toContain(step < 5 ? 'second: 40 steps' : `second: goes on after step ${step - (step % 5)} of 40`);
    expect(outcome(run)).toEqual(wanted);
    expect(readJson(join(run, 'run.json'))).toMatchObject({ status: 'finished', resumed: 1 });
  });

  it('ends bit for bit like one that was not: killed from outside while it writes checkpoints, three times', async () => {
    // With a checkpoint at every step most of the time goes into writing them, so that is where the kill lands.
    const words = ['seed=3', 'steps=150', 'checkpointSteps=1'];
    const whole = temporaryFolder();
    expect(await here(['run', 'linear-regression', ...words], whole)).toMatchObject({ code: 0 });
    const runs = temporaryFolder();
    const killAfter = (lines: number) =>
      once('run linear-regression', (child) => {
        const poll = setInterval(() => {
          const path = join(runs, readdirSync(runs)[0] ?? '', 'metrics.jsonl');
          if (!existsSync(path) || readFileSync(path, 'utf8').split('\n').length < lines) return;
          clearInterval(poll);
          child.kill('SIGKILL');
        }, 1);
        poll.unref();
      });
    expect((await inChild(['run', 'linear-regression', ...words], runs, killAfter(20))).signal).toBe('SIGKILL');
    const run = onlyRun(runs);
    expect((await inChild(['resume', run], runs, killAfter(60))).signal).toBe('SIGKILL');
    expect((await inChild(['resume', run], runs, killAfter(100))).signal).toBe('SIGKILL');
    expect(await inChild(['resume', run], runs)).toMatchObject({ code: 0, err: '' });
    expect(outcome(run)).toEqual(outcome(onlyRun(whole)));
    expect(readdirSync(run, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.tmp') || name === 'lock')).toEqual([]);
  });

  it('stops at Ctrl-C with a checkpoint and code 130, and goes on from there', async () => {
    const runs = temporaryFolder();
    const stopped = await inChild(
      ['run', 'linear-regression', 'steps=100000', 'checkpointSteps=100000'],
      runs,
      once('first: 100000 steps', (child) => child.kill('SIGINT')),
    );
    expect(stopped).toMatchObject({ code: 130, signal: null });
    const [, step] =
      /^stopped after step (\d+) of 100000 of 'first'; the checkpoint is written; go on with: npx atelier resume (?:linear-regression-smoke-\d{8}-\d{6}) --runs \S+\n$/.exec(
        stopped.err,
      ) ?? [];
    expect(step).toBeDefined();
    const run = onlyRun(runs);
    expect(readJson(join(run, 'run.json'))['status']).toBe('interrupted');
    const again = await inChild(
      ['resume', run],
      runs,
      once('first:', (child) => child.kill('SIGINT')),
    );
    expect(again.code).toBe(130);
    expect(again.out).toContain(Number(step) === 0 ? 'first: 100000 steps' : `first: goes on after step ${step} of 100000`);
  });

  it('forgets the lines of metrics behind the checkpoint and a line that was cut', async () => {
    const runs = temporaryFolder();
    await inChild(['run', 'linear-regression', 'seed=3', 'trouble=kill', 'troubleAt=34'], runs);
    const run = onlyRun(runs);
    const path = join(run, 'metrics.jsonl');
    const before = readMetrics(path).filter((line) => line.series === 'second');
    expect(before.at(-1)!.step).toBe(34);
    writeFileSync(path, `${readFileSync(path, 'utf8')}{"series":"second","step":36,"lo`);
    expect(await here(['resume', run], runs)).toMatchObject({ code: 0, err: '' });
    const steps = readMetrics(path).filter((line) => line.series === 'second');
    expect(steps.map((line) => line.step)).toEqual(Array.from({ length: 20 }, (_, i) => 2 * (i + 1)));
    expect(outcome(run)).toEqual(wanted);
  });

  it('does not change a finished run', async () => {
    const run = onlyRun(reference);
    const before = readFileSync(join(run, 'run.json'), 'utf8');
    const { code, out } = await here(['resume', run], reference);
    expect(code).toBe(0);
    expect(out).toContain('is finished; nothing is left to do');
    expect(readFileSync(join(run, 'run.json'), 'utf8')).toBe(before);
  });
});

describe('a run folder that was damaged', () => {
  const source = temporaryFolder();
  beforeAll(async () => {
    await inChild(['run', 'linear-regression', 'trouble=kill', 'troubleAt=23'], source);
  });
  const copy = (): { runs: string; run: string } => {
    const runs = temporaryFolder();
    cpSync(source, runs, { recursive: true });
    return { runs, run: onlyRun(runs) };
  };
  const refusal = async (runs: string, run: string): Promise<string> => {
    const { code, err } = await here(['resume', run], runs);
    expect(code).toBe(1);
    expect(err.trimEnd().split('\n')).toHaveLength(1);
    return err;
  };

  it('is resumed when nothing is wrong', async () => {
    const { runs, run } = copy();
    expect(await here(['resume', run], runs)).toMatchObject({ code: 0, err: '' });
  });

  it('is refused when a bit of a checkpoint has flipped', async () => {
    const { runs, run } = copy();
    const path = join(run, 'checkpoints', 'second.safetensors');
    const bytes = readFileSync(path);
    bytes[bytes.length - 3]! ^= 4;
    writeFileSync(path, bytes);
    expect(await refusal(runs, run)).toMatch(
      /second\.safetensors: the file is damaged: wanted checksum '[0-9a-f]+', got [0-9a-f]+; remove .* and resume: this stage then begins again, with the same result\n$/,
    );
    rmSync(path);
    expect(await here(['resume', run], runs)).toMatchObject({ code: 0, err: '' });
  });

  it('is refused when a checkpoint is cut short or empty', async () => {
    const { runs, run } = copy();
    const path = join(run, 'checkpoints', 'second.safetensors');
    const bytes = readFileSync(path);
    for (const length of [0, 5, 100, bytes.length - 1]) {
      writeFileSync(path, bytes.subarray(0, length));
      expect(await refusal(runs, run)).toMatch(/second\.safetensors.*; remove \S+second\.safetensors and resume/);
    }
  });

  it('is refused when a checkpoint is of another stage, whose state fits but whose steps do not come from here', async () => {
    const { runs, run } = copy();
    rmSync(join(run, 'checkpoints', 'first.safetensors'));
    copyFileSync(join(run, 'checkpoints', 'second.safetensors'), join(run, 'checkpoints', 'first.safetensors'));
    expect(await refusal(runs, run)).toMatch(/first\.safetensors: wanted a checkpoint of 'first', got one of 'second'\n$/);
  });

  it('is refused when run.json is missing, damaged or changed', async () => {
    const { runs, run } = copy();
    const path = join(run, 'run.json');
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replace('"steps": 40', '"steps": 41'));
    expect(await refusal(runs, run)).toMatch(/run\.json: 'config' was changed: wanted hash [0-9a-f]{12}, got [0-9a-f]{12}\n$/);
    writeFileSync(path, text.replace('"running"', '"walking"'));
    expect(await refusal(runs, run)).toContain("'status': wanted one of 'running', 'finished', 'interrupted', 'failed', got 'walking'");
    writeFileSync(path, text.slice(0, 100));
    expect(await refusal(runs, run)).toContain('run.json: wanted JSON');
    rmSync(path);
    expect(await refusal(runs, run)).toContain('wanted a run.json in the folder of a run, got none');
  });

  it('is refused when metrics.jsonl is damaged in the middle', async () => {
    const { runs, run } = copy();
    const path = join(run, 'metrics.jsonl');
    writeFileSync(path, readFileSync(path, 'utf8').replace('{"series":"first","step":4', '{"series":"first,"step":4'));
    expect(await refusal(runs, run)).toContain('metrics.jsonl: line 2: wanted JSON, got');
  });

  // How long a process has lived is read where the system tells it.
  it.skipIf(!existsSync('/proc/1/stat'))('is refused while another process runs it (skipped where there is no /proc)', async () => {
    const { runs, run } = copy();
    const stat = readFileSync('/proc/1/stat', 'utf8');
    writeFileSync(join(run, 'lock'), JSON.stringify({ pid: 1, began: stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] }));
    expect(await refusal(runs, run)).toContain('is being run by process 1');
    // The number of a process that is gone may be in use again: then the time at which it began differs.
    writeFileSync(join(run, 'lock'), JSON.stringify({ pid: 1, began: 'another time' }));
    expect(await here(['resume', run], runs)).toMatchObject({ code: 0, err: '' });
  });
});
