import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findChromium } from '@atelier/testkit';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { install, publicFolders, publicNames, run, workspace } from './installed.ts';
import { reportOf } from './page.ts';

// The scripts at the top of the workspace are plain Node and have no types.
const { programOf, readmes, RESOLUTIONS, typeErrors } = (await import(join(workspace, 'scripts', 'readme-programs.mjs'))) as {
  programOf: (readme: string) => string;
  readmes: () => string[];
  RESOLUTIONS: Record<string, ts.CompilerOptions>;
  typeErrors: (programs: Record<string, string>, options: ts.CompilerOptions, ours: (path: string) => boolean) => string[];
};
const { publint } = await import('publint');
const { formatMessage } = await import('publint/utils');

const programs = join(import.meta.dirname, '..', 'programs');
const chromium = findChromium();

describe('the packed packages, in an empty folder with npm alone', () => {
  let [folder, tarballs] = ['', {} as Record<string, string>];
  beforeAll(() => void ({ folder, tarballs } = install()));
  afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  /** What a manifest says to a user; its scripts are of the workspace. */
  const manifest = (name: string): string => {
    const all = JSON.parse(readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8')) as Record<string, unknown>;
    return JSON.stringify({ ...all, scripts: undefined });
  };
  /** A program as JavaScript in the folder, and what it prints. */
  const outputOf = (name: string, text: string): string => {
    const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
    writeFileSync(join(folder, name), name.endsWith('.cjs') ? text : ts.transpileModule(text, { compilerOptions: options }).outputText);
    return run(folder, process.execPath, [name]);
  };

  it('hold what they should and nothing of the workspace', async () => {
    expect(Object.keys(tarballs).sort()).toEqual([...publicNames].sort());
    for (const name of publicNames) {
      for (const word of ['@atelier/source', 'workspace:', './src/']) expect(manifest(name), name).not.toContain(word);
      const files = readdirSync(join(folder, 'node_modules', name));
      expect(files, name).toEqual(expect.arrayContaining(['dist', 'README.md', 'LICENSE']));
      expect(files).not.toContain('src');
      const { messages, pkg } = await publint({ pkgDir: join(folder, 'node_modules', name), strict: true, level: 'warning', pack: false });
      expect(
        messages.map((message) => formatMessage(message, pkg)),
        name,
      ).toEqual([]);
    }
  });

  it.each(['tensor', 'testkit', 'meanflow'])('have types that fit their modules: %s', (name) => {
    const attw = ['attw', '--profile', 'esm-only', '--format', 'ascii', '--no-emoji', tarballs[`@atelier/${name}`]!];
    // It ends with an error code if it finds a problem that the profile does not leave out.
    const report = run(workspace, 'npx', attw);
    for (const resolution of ['node16 (from ESM): OK', 'bundler: OK']) expect(report).toContain(resolution);
  });

  it('share one copy of TensorFlow.js, which is the one of the reader', () => {
    const copies = (at: string): string[] =>
      readdirSync(at, { withFileTypes: true }).flatMap((entry) => {
        const path = join(at, entry.name);
        if (!entry.isDirectory()) return [];
        if (entry.name === 'tfjs-core') return [path];
        return entry.name.startsWith('@') || entry.name === 'node_modules'
          ? copies(path)
          : existsSync(join(path, 'node_modules'))
            ? copies(join(path, 'node_modules'))
            : [];
      });
    expect(copies(join(folder, 'node_modules'))).toEqual([join(folder, 'node_modules', '@tensorflow', 'tfjs-core')]);
  });

  it.each(Object.keys(RESOLUTIONS))('have types, also for all programs of the READMEs, that a strict project with %s accepts', (name) => {
    const texts = Object.fromEntries(readmes().map((readme, i) => [join(folder, `readme-${i}.mts`), programOf(readme)]));
    for (const program of ['gs-jacobi.ts', 'dit-ddim.ts'])
      texts[join(folder, program.replace('.ts', '.mts'))] = readFileSync(join(programs, program), 'utf8');
    expect(typeErrors(texts, RESOLUTIONS[name]!, (path) => path.includes('/node_modules/@atelier/'))).toEqual([]);
  });

  it('train a layers model with meanFlowLoss: the program of the README', () => {
    const mean = [...outputOf('readme.mjs', programOf('README.md')).matchAll(/-?\d+\.\d+/g)].map(Number);
    expect(mean).toHaveLength(2);
    for (const coordinate of mean) expect(Math.abs(coordinate - 1)).toBeLessThan(0.15);
  });

  it.each(['gs-jacobi.ts', 'dit-ddim.ts', 'required.cjs'])('run %s', (name) => {
    expect(outputOf(name.replace('.ts', '.mjs'), readFileSync(join(programs, name), 'utf8'))).toMatch(/^right$/m);
  });

  it('are read by require', () => {
    const names = publicNames
      .filter((name) => name !== '@atelier/testkit')
      .map((name) => JSON.stringify(name))
      .join(', ');
    expect(
      outputOf(
        'all.cjs',
        `for (const name of [${names}]) if (Object.keys(require(name)).length === 0) throw new Error(name);\nconsole.log('right');`,
      ),
    ).toContain('right');
  });

  describe('in a page', () => {
    const site = (name = 'page'): string => join(folder, name);
    /** A page of one program, built by Vite. */
    const build = (name: string, program: string): void => {
      mkdirSync(site(name));
      writeFileSync(
        join(site(name), 'index.html'),
        '<!doctype html><title>Atelier</title><link rel="icon" href="data:,"><script type="module" src="/page.ts"></script>',
      );
      writeFileSync(join(site(name), 'page.ts'), program);
      run(folder, 'npx', ['vite', 'build', name, '--target', 'es2022', '--logLevel', 'warn']);
    };
    beforeAll(() => build('page', readFileSync(join(programs, 'page.ts'), 'utf8')));

    it('are bundled by Vite, without ONNX Runtime and without modules of Node', () => {
      const assets = join(site(), 'dist', 'assets');
      const text = readdirSync(assets)
        .filter((name) => name.endsWith('.js'))
        .map((name) => readFileSync(join(assets, name), 'utf8'))
        .join('\n');
      expect(text.length).toBeGreaterThan(100_000);
      for (const word of ['onnxruntime-node', 'createRequire', 'intraOpNumThreads']) expect(text.includes(word), word).toBe(false);
    });

    it.skipIf(chromium === undefined)(
      'train MeanFlow and draw in one step on cpu, wasm and webgl (skipped where no Chromium is found: install it or set ATELIER_CHROMIUM)',
      async () => {
        const report = await reportOf(join(site(), 'dist'), chromium!);
        for (const engine of ['cpu', 'wasm', 'webgl']) {
          const { first, last, mean } = report[engine] as { first: number; last: number; mean: number[] };
          expect(last, `${engine}: ${JSON.stringify(report)}`).toBeLessThan(first);
          expect(mean.every(Number.isFinite)).toBe(true);
        }
        // The same draws and the same arithmetic: engines agree up to rounding.
        const means = ['cpu', 'wasm', 'webgl'].map((engine) => (report[engine] as { mean: number[] }).mean[0]!);
        for (const mean of means) expect(Math.abs(mean - means[0]!)).toBeLessThan(1e-2);
        expect(report['default']).toBe('webgl');
        expect(report['ort']).toContain("'ort' runs in Node only; in a page choose webgl, wasm or cpu");
      },
    );

    it.skipIf(chromium === undefined)(
      'train a layers model with the same program of the README as in Node (skipped as above)',
      async () => {
        const tell = "await fetch('/report', { method: 'POST', body: JSON.stringify({ printed }) });";
        const listen = 'const printed: string[] = []; console.log = (text: string) => void printed.push(text);';
        build('readme', `${listen}\n${programOf('README.md').replace('export {};', tell)}\nexport {};\n`);
        const { printed } = (await reportOf(join(site('readme'), 'dist'), chromium!)) as { printed: string[] };
        const mean = [...printed.join(' ').matchAll(/-?\d+\.\d+/g)].map(Number);
        expect(mean, printed.join(' ')).toHaveLength(2);
        for (const coordinate of mean) expect(Math.abs(coordinate - 1)).toBeLessThan(0.15);
      },
    );
  });
});

describe('the manifests', () => {
  const texts = publicFolders.map((folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, never>);
  const root = JSON.parse(readFileSync(join(workspace, 'package.json'), 'utf8')) as { engines: object };

  it.each(texts.map((text) => [text['name'] as string, text] as const))('%s says what it is about and which Node it needs', (_, text) => {
    const { keywords, engines, license, description } = text as Record<string, never>;
    expect((keywords as string[]).length).toBeGreaterThan(2);
    expect(engines).toEqual(root.engines);
    expect([license, (description as string).length > 20]).toEqual(['MIT', true]);
  });
});
