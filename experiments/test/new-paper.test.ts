import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from './child.ts';

const root = join(import.meta.dirname, '..', '..');
const script = async (name: string): Promise<unknown> => import(join(root, 'scripts', name));
const { newPaper } = (await script('new-paper.mjs')) as { newPaper: (root: string, slug: string) => string[] };
const { RESOLUTIONS, typeErrors } = (await script('readme-programs.mjs')) as {
  RESOLUTIONS: Record<string, object>;
  typeErrors: (programs: Record<string, string>, options: object) => string[];
};

const SLUG = 'least-squares-2';

/** A copy of the workspace to write into: the experiments copied, the packages and what is installed linked. */
function copyOfWorkspace(): string {
  const copy = realpathSync(temporaryFolder());
  for (const file of readdirSync(root).filter((name) => /\.(json|yaml|ts)$/.test(name))) cpSync(join(root, file), join(copy, file));
  mkdirSync(join(copy, 'packages'));
  for (const name of readdirSync(join(root, 'packages'))) symlinkSync(join(root, 'packages', name), join(copy, 'packages', name));
  const installed = (path: string): boolean => ['node_modules', 'dist', 'runs'].includes(basename(path));
  cpSync(join(root, 'experiments'), join(copy, 'experiments'), { recursive: true, filter: (path) => !installed(path) });
  cpSync(join(root, 'datasets'), join(copy, 'datasets'), { recursive: true, filter: (path) => !installed(path) });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  symlinkSync(join(root, 'datasets', 'node_modules'), join(copy, 'datasets', 'node_modules'));
  return copy;
}

/** Links dependencies as an installation would. */
function install(copy: string, folder: string, others: string): void {
  const { name, dependencies, devDependencies } = JSON.parse(readFileSync(join(copy, folder, 'package.json'), 'utf8')) as {
    name: string;
    dependencies: Record<string, string>;
    devDependencies?: Record<string, string>;
  };
  for (const dependency of Object.keys({ ...dependencies, ...devDependencies })) {
    const link = join(copy, folder, 'node_modules', dependency);
    mkdirSync(join(link, '..'), { recursive: true });
    const own = join(copy, 'packages', dependency.replace('@atelier/', ''));
    const target = existsSync(own) ? own : join(root, others, 'node_modules', dependency);
    if (!existsSync(target)) throw new Error(`${name}: wanted ${dependency} to be installed in ${others}`);
    symlinkSync(target, link);
  }
}

describe('pnpm new-paper', () => {
  let copy: string;
  let written: string[];
  const run = async (cwd: string, ...words: string[]): Promise<string> => {
    // The count of the tests of this workspace is not theirs.
    const { ATELIER_TEST_RESULTS: _, ATELIER_GOLDEN: __, ...env } = process.env;
    const { stdout } = await promisify(execFile)(process.execPath, words, { cwd: join(copy, cwd), env });
    return stdout;
  };

  beforeAll(() => {
    copy = copyOfWorkspace();
    written = newPaper(copy, SLUG);
    install(copy, join('packages', SLUG), 'packages/swin-dit');
    install(copy, 'experiments', 'experiments');
  });

  it.each([
    ['meanflow', 'packages/meanflow exists'],
    ['src', 'experiments/src exists'],
    ['class', 'a word of the language'],
    ['Two Words', "wanted a name like 'mean-flow2'"],
    ['-x', "wanted a name like 'mean-flow2'"],
    ['../x', "wanted a name like 'mean-flow2'"],
    ['', "got ''"],
    [SLUG, `packages/${SLUG} exists`],
  ])("refuses '%s'", (slug, message) => {
    expect(() => newPaper(copy, slug)).toThrow(message);
  });

  it('writes every room, and leaves no placeholder', () => {
    const rooms = ['src/model', 'src/objective', 'src/sampler', 'src/checkpoint', 'src/config', 'src/index', 'test/parity.test', 'example'];
    expect(written).toEqual(expect.arrayContaining(rooms.map((room) => `packages/${SLUG}/${room}.ts`)));
    expect(written).toEqual(expect.arrayContaining([`packages/${SLUG}/README.md`, `experiments/${SLUG}/claims.ts`]));
    for (const file of written) expect(`${file} ${readFileSync(join(copy, file), 'latin1')}`).not.toMatch(/__[A-Z]+__/);
  });

  it('has no type error', () => {
    const files = written.filter((file) => file.endsWith('.ts')).map((file) => join(copy, file));
    const options = { ...RESOLUTIONS['nodenext'], customConditions: ['@atelier/source'], allowImportingTsExtensions: true };
    const programs = Object.fromEntries(files.map((file) => [file, readFileSync(file, 'utf8')]));
    expect(typeErrors(programs, { ...options, types: ['node'], typeRoots: [join(root, 'node_modules', '@types')] })).toEqual([]);
  });

  it('passes its own tests', async () => {
    const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
    const out = await run(join('packages', SLUG), vitest, 'run', 'test/parity.test.ts', 'test/denoiser.test.ts', '--reporter=json');
    const { numPassedTests, numTotalTests } = JSON.parse(out) as { numPassedTests: number; numTotalTests: number };
    expect(numTotalTests).toBeGreaterThan(10);
    expect(numPassedTests).toBe(numTotalTests);
  });

  it('runs its experiment, whose claim is reproduced', async () => {
    const words = ['--import', 'tsx', '--conditions=@atelier/source', 'src/cli.ts', 'run', SLUG, 'smoke', '--runs', join(copy, 'runs')];
    expect(await run('experiments', ...words)).toMatch(/✓ least-error .* reproduced/);
  });
});
