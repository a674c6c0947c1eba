import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
// The scripts at the top of the workspace are plain Node and have no types.
const { programOf, readmes } = (await import(join(root, 'scripts', 'readme-programs.mjs'))) as {
  programOf: (readme: string) => string;
  readmes: () => string[];
};

/** What a program did: what it printed, what it threw, and pairs of a value and what its README says that it is. */
type Outcome = { printed: string[]; error?: string; said: [string, string][] };

/**
 * A program that also tells `said` what its README states: `console.log(…); // 3 A`, an expression and its value, `const { B } = …; // B = 2`, and a line
 * that throws what the next line shows.
 */
function telling(program: string): string {
  const lines = program.split('\n');
  return lines
    .map((line, i) => {
      const throws = /^\/\/ (Error: .*)$/.exec(lines[i + 1] ?? '')?.[1];
      const claim = (text: string): string => JSON.stringify(text);
      if (throws) return `try { ${line} said('no error', ${claim(throws)}); } catch (error) { said(String(error), ${claim(throws)}); }`;
      const [, code, text] = /^(\S.*);\s+\/\/ (.*)$/.exec(line) ?? [];
      if (code === undefined || text === undefined) return line;
      const printed = /^console\.log\((.*)\)$/.exec(code)?.[1];
      if (printed && /^\d/.test(text)) return `said(util.format(${printed}), ${claim(text)});`;
      if (/^\w+ = \d+(, \w+ = \d+)*$/.test(text)) {
        const names = [...text.matchAll(/(\w+) =/g)].map(([, name]) => `'${name} = ' + ${name}`);
        return `${line.slice(0, code.length)}; said([${names.join(', ')}].join(', '), ${claim(text)});`;
      }
      const isValue = /^(\[|Float32Array\(|Int32Array\(|'|\d)/.test(text) && !/^(const|let|type|import|\}) /.test(code);
      return isValue ? `said(util.inspect(${code}, { breakLength: Infinity }), ${claim(text)});` : line;
    })
    .join('\n');
}

/** Runs the programs one after the other in one process, in an empty folder that has the packages below it. */
async function outcomes(files: Record<string, string>): Promise<Record<string, Outcome>> {
  const folder = mkdtempSync(join(tmpdir(), 'atelier-readmes-'));
  symlinkSync(join(root, 'packages'), join(folder, 'packages'));
  const runner = `
    import util from 'node:util';
    import { tf, useEngine } from '@atelier/tensor';
    await useEngine();
    globalThis.util = util;
    const found = {};
    const print = console.log;
    for (const [readme, file] of Object.entries(JSON.parse(process.env.PROGRAMS))) {
      const outcome = (found[readme] = { printed: [], said: [] });
      globalThis.said = (got, text) => outcome.said.push([got, text]);
      console.log = (...words) => outcome.printed.push(util.format(...words));
      try { await import(file); } catch (error) { outcome.error = String(error.stack); }
    }
    print(JSON.stringify(found));
    process.exit(0);`;
  const place = join(root, 'experiments', 'test', 'readme-program-runner.mts');
  writeFileSync(place, runner);
  try {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--import', pathToFileURL(join(root, 'node_modules/tsx/dist/loader.mjs')).href, '--conditions=@atelier/source', place],
      { cwd: folder, env: { ...process.env, PROGRAMS: JSON.stringify(files) }, maxBuffer: 2 ** 26 },
    );
    return JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, Outcome>;
  } finally {
    rmSync(folder, { recursive: true, force: true });
    rmSync(place, { force: true });
  }
}

/** Its second program is a suite for vitest over golden files that nobody else has; the suites of all packages are written like it. */
const NOT_RUN = ['packages/testkit/README.md'];

describe('the TypeScript in the READMEs runs', () => {
  const programs = readmes().filter((readme) => !NOT_RUN.includes(readme) && programOf(readme) !== '');
  // Beside the README, so that it may import what that package may.
  const place = (readme: string): string =>
    join(root, readme === 'README.md' ? 'experiments' : dirname(readme), 'test', 'readme-program.mts');
  let found: Record<string, Outcome> = {};
  beforeAll(async () => {
    for (const readme of programs) writeFileSync(place(readme), `declare const said: any, util: any; ${telling(programOf(readme))}`);
    found = await outcomes(Object.fromEntries(programs.map((readme) => [readme, pathToFileURL(place(readme)).href])));
  }, 600_000);
  afterAll(() => programs.forEach((readme) => rmSync(place(readme), { force: true })));

  it.each(programs)('%s', (readme) => {
    const { error, said } = found[readme]!;
    expect(error).toBeUndefined();
    for (const [got, text] of said) expect(got).toBe(text);
  });

  it('and prints and gives what they say: all kinds of statements are found', () => {
    expect(found['packages/tensor/README.md']!.said.map(([, text]) => text.slice(0, 12))).toEqual(["[ 'blocks.0.", 'B = 2, T = 1', 'Error: atten', 'Float32Array']); // prettier-ignore
    expect(found['datasets/README.md']!.said.map(([, text]) => text)).toEqual(['131072 A']);
  });

  it('the first one trains a layers model to draw near [1, 1] in one step', () => {
    const mean = [...found['README.md']!.printed.join('\n').matchAll(/-?\d+\.\d+/g)].map(Number);
    expect(mean).toHaveLength(2);
    for (const coordinate of mean) expect(Math.abs(coordinate - 1)).toBeLessThan(0.15);
  });
});
