import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { here, onlyRun, readJson, temporaryFolder } from './child.ts';

/** Changes facts of a run, as if they had been others. */
function changeRun(run: string, change: Record<string, unknown>): void {
  writeFileSync(join(run, 'run.json'), JSON.stringify({ ...readJson(join(run, 'run.json')), ...change }));
}

describe('what the ledger lacks', () => {
  it('is said, run, and kept until the preset or its code changes', async () => {
    const [runs, docs] = [temporaryFolder(), temporaryFolder()];
    const ledger = (...words: string[]) => here(['ledger', '--preset', 'smoke', '--docs', docs, ...words], runs);
    const plan = async (): Promise<string> => (await ledger('--plan')).out;
    expect(await plan()).toBe('linear-regression  to run, time not known\n1 of 1 to run, about 0 s and 1 whose time is not known\n');

    const { code, out, err } = await ledger();
    expect({ code, err }).toEqual({ code: 0, err: '' });
    // The plan comes before the run, and the ledger of the runs is written after it.
    expect(out.indexOf('1 of 1 to run')).toBeLessThan(out.indexOf('run linear-regression-smoke'));
    expect(out).toMatch(/2 claims, 1 measured in 1 runs: .*results\.md and results\.html\n/);

    const run = onlyRun(runs);
    const id = run.slice(runs.length + 1);
    expect(await plan()).toBe(`linear-regression  kept: ${id}\nnothing is missing\n`);
    expect((await ledger()).out).toContain('nothing is missing');
    expect(onlyRun(runs)).toBe(run);

    const versions = readJson(join(run, 'run.json'))['versions'] as Record<string, string>;
    changeRun(run, { versions: { ...versions, code: '0123456789abcdef' } });
    expect(await plan()).toMatch(/^linear-regression {2}to run, about \d+ s \(its code has changed\)\n1 of 1 to run, about \d+ s\n$/);
    // Of older runs only the commit is known. Where no repository tells of changes, the code counts as the same.
    const { code: _, ...older } = versions;
    changeRun(run, { versions: older, commit: '0123456789ab+' });
    expect(await plan()).toContain('(its code has changed)');
    changeRun(run, { versions: older, commit: 'unknown' });
    expect(await plan()).toContain('nothing is missing');
    changeRun(run, { versions, status: 'interrupted' });
    expect(await plan()).toMatch(new RegExp(`^linear-regression {2}goes on: ${id}, at most time not known\n`));
  });

  it('is not filled by a run of another configuration', async () => {
    const runs = temporaryFolder();
    await here(['run', 'linear-regression', 'smoke', 'steps=5'], runs);
    expect((await here(['ledger', '--plan', '--preset', 'smoke', '--docs', temporaryFolder()], runs)).out).toMatch(
      /^linear-regression {2}to run, about \d+ s \(the preset has changed\)\n/,
    );
  });

  it('is refused for a preset that no paper has', async () => {
    const { code, err } = await here(['ledger', '--preset', 'ful'], temporaryFolder());
    expect({ code, err }).toEqual({ code: 1, err: "unknown preset 'ful': the nearest is 'full' (there are smoke, full)\n" });
  });
});
