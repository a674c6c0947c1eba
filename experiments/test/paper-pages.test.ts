import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import katex from 'katex';
import { describe, expect, it } from 'vitest';
import { workspace } from '../src/runner/machine.ts';
import { experiments } from '../src/registry.ts';

const folder = join(workspace, 'docs', 'papers');
const pages = readdirSync(folder).map((file) => join(folder, file));
const textOf = (path: string): string => readFileSync(path, 'utf8');

/** Links of a page as the words between the brackets and the path from the root of the workspace; addresses are left out. */
function linksOf(page: string): { words: string; path: string }[] {
  return [...textOf(page).matchAll(/\[([^\]]*)\]\(([^)#]+)(?:#[^)]*)?\)/g)]
    .filter(([, , path]) => !path!.startsWith('https:'))
    .map(([, words, path]) => ({ words: words!, path: relative(workspace, join(dirname(page), path!)) }));
}

/** `name` in a link `[`name`](file.ts)`: an export of that file. */
const namedExports = (page: string): { name: string; path: string }[] =>
  linksOf(page).flatMap(({ words, path }) => (/^`\w+`$/.test(words) ? [{ name: words.slice(1, -1), path }] : []));

const exportsName = (text: string, name: string): boolean =>
  new RegExp(`^export (?:async )?(?:function\\*?|const|type|interface|class) ${name}\\b`, 'm').test(text);

/** The formulas of a page: those between $$ and $$, then those between $ and $. */
function formulasOf(page: string): { formula: string; display: boolean }[] {
  const text = textOf(page).replace(/`[^`\n]*`/g, '');
  const display = [...text.matchAll(/\$\$([\s\S]*?)\$\$/g)].map(([, formula]) => ({ formula: formula!, display: true }));
  const inline = [...text.replace(/\$\$[\s\S]*?\$\$/g, '').matchAll(/\$([^$\n]+)\$/g)].map(([, formula]) => ({
    formula: formula!,
    display: false,
  }));
  return [...display, ...inline];
}

describe('the pages of the papers', () => {
  it('there is one for each experiment', () => {
    expect(pages.map((page) => basename(page, '.md')).sort()).toEqual(experiments.map(({ paper }) => paper.slug).sort());
  });

  it.each(pages.map((page) => [basename(page), page]))('%s: every file and every export that it names exists', (_, page) => {
    const missing = linksOf(page).filter(({ path }) => !existsSync(join(workspace, path)));
    expect(missing).toEqual([]);
    const named = namedExports(page);
    expect(named.length).toBeGreaterThanOrEqual(10);
    expect(named.filter(({ name, path }) => !exportsName(textOf(join(workspace, path)), name))).toEqual([]);
  });

  it.each(pages.map((page) => [basename(page), page]))('%s: formulas can be read, and numbers of equations are used once', (_, page) => {
    const formulas = formulasOf(page);
    expect(formulas.filter(({ display }) => display).length).toBeGreaterThanOrEqual(6);
    for (const { formula, display } of formulas)
      katex.renderToString(formula, { displayMode: display, throwOnError: true, strict: 'error' });
    const numbers = formulas.flatMap(({ formula }) => [...formula.matchAll(/\\tag\{(\w+)\}/g)].map(([, number]) => number));
    expect(new Set(numbers).size).toBe(numbers.length);
  });

  it.each(pages.map((page) => [basename(page), page]))('%s: the READMEs of the workspace and of the package lead to it', (_, page) => {
    for (const readme of ['README.md', join('packages', basename(page, '.md'), 'README.md')])
      expect(linksOf(join(workspace, readme)).map(({ path }) => path)).toContain(relative(workspace, page));
  });

  it('tells a name that is not exported from one that is', () => {
    expect(exportsName('export function interpolate(x) {}', 'interpolate')).toBe(true);
    expect(exportsName('function interpolate(x) {}\nexport const other = 1;', 'interpolate')).toBe(false);
    expect(exportsName('export const interpolated = 1;', 'interpolate')).toBe(false);
  });
});
