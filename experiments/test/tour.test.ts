import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { experiments } from '../src/registry.ts';
import { resolveConfig } from '../src/runner/config.ts';
import type { Experiment } from '../src/runner/experiment.ts';
import { main } from '../src/runner/command-line.ts';
import { here, onlyRun, temporaryFolder } from './child.ts';
import { linearRegression } from './linear-regression.ts';

describe('a tour', () => {
  it('runs a short preset, prints a line for each paper and a table, and writes one page', async () => {
    const runs = temporaryFolder();
    const { code, out, err } = await here(['tour'], runs);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const lines = out.split('\n');
    expect(lines[0]).toBe('1/1 linear-regression  a line through points …');
    expect(lines[1]).toMatch(/^1\/1 linear-regression {2}a line through points: 1 of 1 claims reproduced, \d+ s$/);
    expect(lines[3]).toBe('paper               claims reproduced   need a longer run   out of reach   time');
    expect(lines[4]).toMatch(/^linear-regression {3}1 of 1 {14}0 {19}1 {14}\d+ s$/);
    const path = join(runs, 'tour.html');
    expect(lines[6]).toMatch(/^\d+ s in all; pictures and claims: .*tour\.html$/);
    const html = readFileSync(path, 'utf8');
    expect(html).toContain('Least squares recovers the weights.');
    expect(html).toContain('✓ reproduced');
    // What was not tested is named, without a verdict.
    expect(html).toMatch(/1 claims? are out of reach of this machine<\/summary><ul><li>The orbits of comets follow\.<\/li>/);
    expect(html).toContain(readFileSync(join(onlyRun(runs), 'figures', 'weights.png')).toString('base64'));
    expect(existsSync(join(onlyRun(runs), 'report.html'))).toBe(true);
    expect(html).not.toMatch(/<script|src="http/);
  });

  it('redraws one line on a terminal, and leaves one line for each paper', async () => {
    const runs = temporaryFolder();
    let out = '';
    const screen = { isTTY: true, columns: 60, write: (text: string) => void (out += text) };
    const signal = new AbortController().signal;
    expect(await main(['tour', '--runs', runs], [linearRegression], { out: screen, err: screen, signal })).toBe(0);
    const shown = out.split('\n').map((line) => line.split('\r\u001b[2K').at(-1)!);
    expect(shown[0]).toMatch(/^1\/1 linear-regression {2}a line through points: 1 of 1 claims reproduced, \d+ s$/);
    expect(out).toContain('\r\u001b[2K1/1 linear-regression  first 0 %');
    for (const part of out.split('\n')[0]!.split('\r\u001b[2K').slice(1, -1)) expect(part.length).toBeLessThan(60);
  });

  it('stops at Ctrl-C, and says how its run goes on', async () => {
    const runs = temporaryFolder();
    const { code, err } = await here(['tour'], runs, AbortSignal.abort());
    expect(code).toBe(130);
    expect(err).toMatch(/go on with: .*atelier resume linear-regression-smoke/);
  });

  it('says what is missing where there is nothing to show', async () => {
    const { tour: _, ...plain } = linearRegression;
    const { code, err } = await here(['tour'], temporaryFolder(), undefined, [plain as Experiment]);
    expect({ code, err }).toEqual({ code: 1, err: 'tour: wanted an experiment with a preset for it, got none\n' });
  });
});

describe('the tour of the papers', () => {
  it('has a place for each of the seven', () => {
    expect(experiments.filter(({ tour }) => tour !== undefined).length).toBeGreaterThanOrEqual(7);
  });

  it.each(experiments.filter(({ tour }) => tour !== undefined).map((experiment) => [experiment.name, experiment] as const))(
    '%s has a preset for it that tests claims',
    (_, experiment) => {
      const { preset } = experiment.tour!;
      expect(resolveConfig(experiment, preset, []).seed).toBe(0);
      expect(experiment.claims.filter(({ presets }) => presets.includes(preset)).length).toBeGreaterThan(0);
    },
  );
});
