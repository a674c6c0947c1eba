import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { committed } from '../src/runner/ledger-files.ts';
import { commitName } from '../src/runner/machine.ts';
import { type ClaimRecord } from '../src/runner/claims.ts';
import { numberText } from '../src/runner/number-text.ts';
import { configHash, resolveConfig } from '../src/runner/config.ts';
import { detailsMarkdown, ledgerMarkdown } from '../src/runner/ledger-page.ts';
import { ledgerOf } from '../src/runner/ledger.ts';
import { readClaims } from '../src/runner/run-context.ts';
import { runIds } from '../src/runner/run-folder.ts';
import { here, onlyRun, temporaryFolder } from './child.ts';
import { linearRegression } from './linear-regression.ts';

describe('report', () => {
  it('writes the ledger over all runs beside them: a row a claim, the mean over seeds, changed configurations left out', async () => {
    const runs = temporaryFolder();
    await here(['run', 'linear-regression', 'seed=1'], runs);
    await here(['run', 'linear-regression', 'seed=2'], runs);
    await here(['run', 'linear-regression', 'steps=1'], runs);
    const { code, out: said } = await here(['report'], runs);
    expect(code).toBe(0);
    expect(said).toContain('2 claims, 1 measured in 3 runs');
    const text = readFileSync(join(runs, 'results.md'), 'utf8');
    const numbers = runIds(runs).flatMap((id) => readClaims(join(runs, id)).filter(({ changed }) => !changed));
    expect(numbers.map(({ seed }) => seed)).toEqual([1, 2]);
    const mean = (numbers[0]!.measured + numbers[1]!.measured) / 2;
    const spread = Math.abs(numbers[0]!.measured - numbers[1]!.measured) / Math.SQRT2;
    expect(text).toContain('- [linear-regression](#linear-regression): 1 of 1 testable claims reproduced; 1 out of reach');
    const row = text.split('\n').find((line) => line.includes('results/linear-regression.md#weights'))!;
    const [, found, deviation, end] = /\| ([\d.e-]+) ± ([\d.e-]+) (\(≤ 0\.1\) \| ✓ reproduced \|)$/.exec(row)!;
    expect(Number(found) / mean).toBeCloseTo(1, 3);
    expect(Number(deviation) / spread).toBeCloseTo(1, 1);
    expect(end).toBeDefined();
    expect(text).toContain('comets) | two comets |  | – out of reach |');
    const details = readFileSync(join(runs, 'results', 'linear-regression.md'), 'utf8');
    for (const { seed, run, measured } of numbers)
      expect(details).toMatch(new RegExp(`\\| smoke \\| ${seed} \\| ${numberText(measured)} .*${run} \\|`));
    expect(details).toContain('- Measure it: atelier run linear-regression smoke');
    expect(details).toContain('- Out of reach: no telescope here');
    const html = readFileSync(join(runs, 'results.html'), 'utf8');
    for (const { run } of numbers) expect(html).toContain(run);
    expect(html).toContain('✓ reproduced</span>');
    const other = temporaryFolder();
    expect(await here(['report', '--out', other], runs)).toMatchObject({ code: 0 });
    expect(readFileSync(join(other, 'results.md'), 'utf8')).toBe(text);
  });

  it('takes the largest preset and the newest run of a seed, and shows the older ones', async () => {
    const runs = temporaryFolder();
    await here(['run', 'linear-regression'], runs);
    await here(['run', 'linear-regression'], runs);
    await here(['run', 'linear-regression', 'full'], runs);
    await here(['report'], runs);
    const details = readFileSync(join(runs, 'results', 'linear-regression.md'), 'utf8');
    expect(details).toContain('- Measured here: largest error of a weight after training; 200 steps a stage');
    expect(details).toContain('- With the preset smoke: largest error of a weight after training; 40 steps a stage');
    expect(details.match(/^\| (smoke|full) \| [^|]* \|/gm)).toEqual(['| smoke | 0 |', '| smoke | 0 (older) |', '| full | 0 |']);
  });

  it('writes nothing where nothing was run, and never into the folder of the committed ledger', async () => {
    const runs = temporaryFolder();
    expect(await here(['report'], runs)).toMatchObject({
      code: 0,
      out: `no run in ${runs}, so nothing is written\n`,
    });
    expect(readdirSync(runs)).toEqual([]);
    const before = readFileSync(join(committed, 'results.md'), 'utf8');
    await here(['run', 'linear-regression'], runs);
    expect(await here(['report', '--out', committed], runs)).toMatchObject({
      code: 1,
      err: expect.stringContaining('atelier ledger merge'),
    });
    expect(readFileSync(join(committed, 'results.md'), 'utf8')).toBe(before);
  });

  it('leaves out a run whose claims are damaged and says so', async () => {
    const runs = temporaryFolder();
    await here(['run', 'linear-regression'], runs);
    writeFileSync(join(onlyRun(runs), 'claims.json'), '[{"id": "weights"}]');
    const { code, out, err } = await here(['report'], runs);
    expect(code).toBe(0);
    expect(out).toContain('has measured a claim, so no ledger is written');
    const [left, shown, ...more] = err.split('\n');
    expect(left).toMatch(/^left out: .*claims\.json: '0\.paper': wanted a text, got nothing$/);
    expect(shown).toMatch(/: cannot be shown: .*claims\.json: '0\.paper': wanted a text, got nothing$/);
    expect(more).toEqual(['']);
    expect(readFileSync(join(runs, 'index.html'), 'utf8')).toContain(`<td>${basename(onlyRun(runs))}</td>`);
  });

  it('redraws the report of one run: one file, nothing from elsewhere', async () => {
    const runs = temporaryFolder();
    await here(['run', 'linear-regression'], runs);
    const path = join(onlyRun(runs), 'report.html');
    const before = readFileSync(path, 'utf8');
    writeFileSync(path, '');
    expect((await here(['report', onlyRun(runs)], runs)).code).toBe(0);
    const html = readFileSync(path, 'utf8');
    expect(html).toBe(before);
    // The link to the paper is the only way out of the page.
    for (const [, source] of html.matchAll(/(?:src|href)="([^"]*)"/g))
      expect(source).toMatch(/^(data:image|https:\/\/arxiv\.org\/abs\/0000\.00000$)/);
    expect(html).not.toMatch(/<script src|@import|url\(|fetch\(|XMLHttpRequest|import\(/);
    expect(html.match(/data:image\/png/g)).toHaveLength(2 * 2);
    expect(html.match(/data:image\/svg/g)).toHaveLength(1);
    expect(html).toContain('Least squares recovers the weights.');
    expect(html).toContain('✓ reproduced');
  });

  it('refuses a folder it cannot write to', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'docs'), '');
    const runs = join(folder, 'runs');
    await here(['run', 'linear-regression'], runs);
    const { code, err } = await here(['report', '--out', join(folder, 'docs')], runs);
    expect({ code, err }).toEqual({ code: 1, err: `${join(folder, 'docs', 'results')}: a part of the path is a file, not a folder\n` });
  });
});

describe('a verdict over several runs', () => {
  const [weights, comets] = linearRegression.claims;
  const experiment = { ...linearRegression, claims: [{ ...weights!, neutral: 1 }, comets!] };
  const record = (preset: string, seed: number, measured: number): ClaimRecord => ({
    ...{ paper: 'least-squares', experiment: 'linear-regression', id: 'weights', claim: '', where: '', published: '', how: `by ${preset}` },
    ...{ bound: { atMost: 0.1 }, measured, verdict: 'reproduced', run: `${preset} ${seed} ${measured}`, preset, changed: false, seed },
    ...{ engine: 'ort', commit: 'c', machine: 'm', date: '2026-11-28T00:00:00.000Z' },
  });
  const row = (...records: ClaimRecord[]): string =>
    ledgerMarkdown(ledgerOf([experiment], records))
      .split('\n')
      .find((line) => line.includes('#weights'))!
      .split('|')
      .slice(-3, -1)
      .join('|');

  it('is that of the mean over the seeds, with the number of seeds within the bound', () => {
    expect(row(record('full', 0, 0.05), record('full', 1, 0.15), record('full', 2, 0.07))).toBe(
      ' 0.09 ± 0.053 (≤ 0.1) | ✓ reproduced (in 2 of 3 seeds) ',
    );
    expect(row(record('full', 0, 0.05), record('full', 1, 0.35))).toBe(' 0.2 ± 0.21 (≤ 0.1) | ~ direction only (in 1 of 2 seeds) ');
  });

  it('counts the newest run of a seed', () => {
    expect(row(record('full', 0, 0.5), record('full', 0, 0.05))).toBe(' 0.05 (≤ 0.1) | ✓ reproduced ');
  });

  it('leaves out runs of the preset as it was before, once there is one of the preset as it is now', () => {
    const now = (one: ClaimRecord): ClaimRecord => ({
      ...one,
      configHash: configHash(resolveConfig(experiment, one.preset, [`seed=${one.seed}`])),
    });
    const before = { ...record('full', 0, 0.5), configHash: 'another' };
    expect(row(before)).toBe(' 0.5 (≤ 0.1) | ~ direction only ');
    expect(row(before, now(record('full', 1, 0.05)))).toBe(' 0.05 (≤ 0.1) | ✓ reproduced ');
    expect(detailsMarkdown(ledgerOf([experiment], [before, now(record('full', 1, 0.05))])[0]!)).toContain('| full | 0 (older) | 0.5 |');
  });

  it('tells a direction without its bound from a claim that fails', () => {
    expect(row(record('full', 0, 0.999))).toBe(' 0.999 (≤ 0.1) | ~ direction only ');
    expect(row(record('full', 0, 1))).toBe(' 1 (≤ 0.1) | ✗ not reproduced ');
  });

  it('is that of the largest preset, with the presets that differ', () => {
    expect(row(record('full', 0, 0.05), record('smoke', 0, 0.2))).toBe(' 0.05 (≤ 0.1) | ✓ reproduced (smoke ~) ');
    expect(row(record('full', 0, 2), record('smoke', 0, 0.05))).toBe(' 2 (≤ 0.1) | ✗ not reproduced (smoke ✓) ');
  });

  it('is missing where nothing is measured', () => {
    expect(row()).toBe(' (≤ 0.1) | · not measured ');
  });
});

describe('ledger merge', () => {
  const merge = (runs: string, docs: string) => here(['ledger', 'merge', '--docs', docs], runs);

  it('adds new measurements and never drops a measured row, for any content of the folder of runs', async () => {
    const docs = temporaryFolder();
    const runs = temporaryFolder();
    await here(['run', 'linear-regression', 'seed=1'], runs);
    await here(['run', 'linear-regression', 'steps=1'], runs);
    expect(await merge(runs, docs)).toMatchObject({ code: 0, out: expect.stringContaining('1 records added, 1 in') });
    const first = readFileSync(join(docs, 'results.md'), 'utf8');
    expect(first).toContain('| ✓ reproduced |');

    // The same runs again, and no runs at all, change nothing.
    for (const again of [runs, temporaryFolder()]) {
      expect(await merge(again, docs)).toMatchObject({ code: 0, out: expect.stringContaining('0 records added, 1 in') });
      expect(readFileSync(join(docs, 'results.md'), 'utf8')).toBe(first);
    }

    const others = temporaryFolder();
    await here(['run', 'linear-regression', 'full', 'seed=2'], others);
    expect(await merge(others, docs)).toMatchObject({ code: 0, out: expect.stringContaining('1 records added, 2 in') });
    const both = readFileSync(join(docs, 'results', 'linear-regression.md'), 'utf8');
    for (const by of ['smoke | 1', 'full | 2']) expect(both).toContain(`| ${by} |`);
  });

  it('keeps records of claims that the code no longer states', async () => {
    const docs = temporaryFolder();
    const runs = temporaryFolder();
    await here(['run', 'linear-regression'], runs);
    await merge(runs, docs);
    const path = join(docs, 'results.json');
    writeFileSync(path, readFileSync(path, 'utf8').replace('"atMost": 0.1', '"atMost": 0.2'));
    expect((await merge(temporaryFolder(), docs)).out).toContain(
      '1 records of claims or bounds that the code no longer states are kept, but not shown',
    );
    expect(readFileSync(path, 'utf8')).toContain('"atMost": 0.2');
  });

  it('refuses a damaged ledger and writes nothing where there is none', async () => {
    const docs = temporaryFolder();
    expect(await merge(temporaryFolder(), docs)).toMatchObject({ code: 0, out: expect.stringContaining('nothing is written') });
    expect(readdirSync(docs)).toEqual([]);
    writeFileSync(join(docs, 'results.json'), '[{]');
    expect(await merge(temporaryFolder(), docs)).toMatchObject({ code: 1, err: `${join(docs, 'results.json')}: wanted JSON, got '[{]'\n` });
    expect((await here(['ledger', 'merg'], temporaryFolder())).err).toBe(
      "unknown action of ledger 'merg': the nearest is 'merge' (there are merge)\n",
    );
  });
});

describe('which claims a run enters', () => {
  it('those that its preset measures', async () => {
    const [weights, comets] = linearRegression.claims;
    const onlyFull = { ...linearRegression, claims: [{ ...weights!, presets: ['full'] }, comets!] };
    const entered = async (preset: string): Promise<string[]> => {
      const runs = temporaryFolder();
      expect(await here(['run', 'linear-regression', preset], runs, undefined, [onlyFull])).toMatchObject({ code: 0, err: '' });
      return readClaims(onlyRun(runs)).map(({ id }) => id);
    };
    expect(await entered('smoke')).toEqual([]);
    expect(await entered('full')).toEqual(['weights']);
  });
});

describe('the name of the commit', () => {
  it('is marked where code was changed, and not for documents', () => {
    const folder = temporaryFolder();
    const git = (...words: string[]): string =>
      execFileSync('git', ['-c', 'user.name=a', '-c', 'user.email=a@b', ...words], { cwd: folder, encoding: 'utf8' });
    expect(commitName(folder)).toBe('unknown');
    git('init', '-q');
    mkdirSync(join(folder, 'docs'));
    writeFileSync(join(folder, 'docs', 'results.md'), 'one');
    writeFileSync(join(folder, 'code.ts'), 'one');
    git('add', '.');
    git('commit', '-qm', 'one');
    const commit = git('rev-parse', '--short=12', 'HEAD').trim();
    writeFileSync(join(folder, 'docs', 'results.md'), 'two');
    expect(commitName(folder)).toBe(commit);
    writeFileSync(join(folder, 'code.ts'), 'two');
    expect(commitName(folder)).toBe(`${commit}+`);
  });
});
