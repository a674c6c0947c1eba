// `pnpm new-paper <slug>`: a package and an experiment for a paper, copied from scripts/new-paper/, where a small method already works. Uses only what
// comes with Node.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

/**
 * Writes `packages/<slug>` and `experiments/<slug>` into a workspace, and registers the experiment.
 * @param {string} root the workspace
 * @param {string} slug the name of the paper: lower-case words with dashes between them
 * @returns {string[]} the files that were written or changed, from the root
 * @throws Error with one sentence, before anything is written, if the slug cannot be used
 */
export function newPaper(root, slug) {
  checkSlug(root, slug);
  const name = slug.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
  const folders = { package: join(root, 'packages', slug), experiment: join(root, 'experiments', slug) };
  for (const [kind, folder] of Object.entries(folders)) {
    cpSync(join(here, 'new-paper', kind), folder, { recursive: true, errorOnExist: true });
    for (const file of filesIn(folder)) {
      if (file.endsWith('.safetensors')) continue;
      writeFileSync(file, readFileSync(file, 'utf8').replaceAll('__SLUG__', slug).replaceAll('__NAME__', name));
    }
  }
  const registry = join(root, 'experiments', 'src', 'registry.ts');
  edit(registry, /(?=\nimport type)|^(?=import type)/m, `\nimport { ${name} } from '../${slug}/index.ts';`);
  edit(registry, /(?=\];)/, `, ${name}`);
  const manifest = join(root, 'experiments', 'package.json');
  const { dependencies, ...rest } = JSON.parse(readFileSync(manifest, 'utf8'));
  const entries = Object.entries(dependencies);
  const at = entries.findLastIndex(([dependency]) => dependency.startsWith('@atelier/'));
  entries.splice(at + 1, 0, [`@atelier/${slug}`, 'workspace:*']);
  const order = Object.keys(JSON.parse(readFileSync(manifest, 'utf8')));
  const next = { ...rest, dependencies: Object.fromEntries(entries) };
  writeFileSync(manifest, `${JSON.stringify(Object.fromEntries(order.map((key) => [key, next[key]])), null, 2)}\n`);
  return [...Object.values(folders).flatMap(filesIn), registry, manifest].map((file) => relative(root, file));
}

function checkSlug(root, slug) {
  if (typeof slug !== 'string' || !/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(slug))
    throw new Error(`new-paper: wanted a name like 'mean-flow2' (lower-case words, digits, dashes), got '${slug ?? ''}'`);
  if (RESERVED.has(slug))
    throw new Error(`new-paper: wanted a name that is free, got '${slug}', a word of the language or of the workspace`);
  for (const folder of ['packages', 'experiments'])
    if (existsSync(join(root, folder, slug)))
      throw new Error(`new-paper: wanted a name that is free, got '${slug}', and ${folder}/${slug} exists`);
}

/** What prettier formats after the copy. */
const FORMATTED = (slug) => [`packages/${slug}`, `experiments/${slug}`, 'experiments/src/registry.ts'];
const RESERVED = new Set(
  'atelier experiments datasets bench scripts docs utils helpers common misc class default delete export import new package public return static switch this type void with'.split(
    ' ',
  ),
);

function edit(file, where, text) {
  const before = readFileSync(file, 'utf8');
  const match = where.exec(before);
  if (match === null) throw new Error(`new-paper: wanted a place for '${text.trim()}' in ${file}, got none`);
  writeFileSync(file, `${before.slice(0, match.index)}${text}${before.slice(match.index)}`);
}

function filesIn(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

if (process.argv[1] !== undefined && basename(process.argv[1]) === 'new-paper.mjs') {
  const root = join(here, '..');
  try {
    const [slug, ...more] = process.argv.slice(2);
    if (more.length > 0) throw new Error(`new-paper: wanted one name, got ${more.length + 1}`);
    for (const file of newPaper(root, slug)) console.log(file);
    const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    // The new package is linked into the workspace, and the lock file learns of it.
    const { status } = spawnSync('npx', ['--yes', packageManager, 'install', '--prefer-offline'], { cwd: root, stdio: 'inherit' });
    if (status !== 0) throw new Error(`new-paper: the files are written, but '${packageManager} install' ended with code ${status}`);
    // How long lines are depends on the name.
    spawnSync('npx', ['prettier', '--log-level=warn', '--write', ...FORMATTED(slug)], { cwd: root, stdio: 'inherit' });
    console.log(`\ntry it:   npx ${packageManager} --filter @atelier/${slug} test`);
    console.log(`run it:   npx ${packageManager} atelier run ${slug} smoke\nthen go on with CONTRIBUTING.md`);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
