// `pnpm check-dist`: builds and packs every public package, unpacks the tarballs outside of the workspace, and uses them there in plain Node, as
// another project would: without the `source` condition. The programs of the READMEs are typechecked there against the built types, and publint and
// "Are the types wrong?" judge the tarballs. Other dependencies are linked from the workspace, so no network is needed.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { programOf, readmes, RESOLUTIONS, typeErrors, workspace as root } from './readme-programs.mjs';

const folders = [...readdirSync(join(root, 'packages')).map((name) => join(root, 'packages', name)), join(root, 'datasets')];
const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const pnpm = (cwd, ...args) =>
  execFileSync('npx', ['--yes', packageManager, ...args], { cwd, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });

/** A program that a new user might write first. */
const PROGRAM = `
import assert from 'node:assert/strict';
import { compile, Rng, tf, useEngine, valueAndGrad } from '@atelier/tensor';
import { writeSafetensors, readSafetensors } from '@atelier/tensor/node';
await useEngine('ort');
const x = new Rng(1).normal([4, 3]);
const step = compile((w) => valueAndGrad((p) => ({ loss: tf.sum(tf.square(tf.matMul(x, p))), aux: {} }), w).grads, { name: 'gradient' });
const gradient = step(tf.ones([3, 1]));
const wanted = tf.mul(2, tf.matMul(x, tf.matMul(x, tf.ones([3, 1])), true));
assert.ok(tf.max(tf.abs(tf.sub(gradient, wanted))).dataSync()[0] < 1e-4);
await writeSafetensors('x.safetensors', { x: { dtype: 'float32', shape: [4, 3], data: await x.data() } });
assert.deepEqual((await readSafetensors('x.safetensors')).tensors.x.data, await x.data());
for (const name of process.argv.slice(2)) assert.ok(Object.keys(await import(name)).length > 0, name);
`;

const outside = mkdtempSync(join(tmpdir(), 'atelier-outside-'));
try {
  pnpm(root, 'exec', 'turbo', 'run', 'build');
  const names = folders.map((folder) => unpack(folder));
  for (const name of names) await judge(name);
  // What a README's own imports ask for beside our packages.
  link('@tensorflow/tfjs', join(root, 'packages', 'tensor'), outside);
  checkTypes();
  writeFileSync(join(outside, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(outside, 'program.js'), PROGRAM);
  execFileSync(process.execPath, ['program.js', ...names], { cwd: outside, stdio: 'inherit' });
  console.log(`${names.length} packages work outside of the workspace: ${names.join(', ')}`);
} finally {
  rmSync(outside, { recursive: true, force: true });
}

/** Packs a package and unpacks it as an installation would. Returns its name. */
function unpack(folder) {
  const { name } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const tarballs = join(outside, 'tarballs', name);
  const target = join(outside, 'node_modules', name);
  mkdirSync(tarballs, { recursive: true });
  mkdirSync(target, { recursive: true });
  pnpm(folder, 'pack', '--pack-destination', tarballs);
  execFileSync('tar', ['-xzf', join(tarballs, readdirSync(tarballs)[0]), '--strip-components=1', '-C', target]);
  const text = readFileSync(join(target, 'package.json'), 'utf8');
  for (const word of ['@atelier/source', 'workspace:', './src/']) {
    if (text.includes(word)) throw new Error(`${name}: the packed package.json still speaks of '${word}'`);
  }
  if (readdirSync(target).includes('src')) throw new Error(`${name}: the tarball holds the sources`);
  for (const dependency of Object.keys(JSON.parse(text).dependencies ?? {})) {
    if (!dependency.startsWith('@atelier/')) link(dependency, folder, target);
  }
  return name;
}

/** Makes a dependency of the package in `from` one of the folder `to`. */
function link(dependency, from, to) {
  const path = join(to, 'node_modules', dependency);
  mkdirSync(dirname(path), { recursive: true });
  symlinkSync(realpathSync(join(from, 'node_modules', dependency)), path, 'junction');
}

/** publint and "Are the types wrong?" on a packed package, for ES modules: there is no CommonJS here. @throws Error with what they found */
async function judge(name) {
  const { messages, pkg } = await publint({ pkgDir: join(outside, 'node_modules', name), strict: true });
  if (messages.length > 0) throw new Error(`${name}: publint: ${messages.map((message) => formatMessage(message, pkg)).join('; ')}`);
  const tarballs = join(outside, 'tarballs', name);
  const words = ['exec', 'attw', '--profile', 'esm-only', '--format', 'ascii', '--no-emoji', join(tarballs, readdirSync(tarballs)[0])];
  try {
    pnpm(root, ...words);
  } catch (error) {
    throw new Error(`${name}: "Are the types wrong?" says\n${error.stdout}`, { cause: error });
  }
}

/** The programs of the READMEs against the built types, as strict projects of both kinds see them. @throws Error with what does not fit */
function checkTypes() {
  const programs = readmes().map((readme, i) => [join(outside, `readme-${i}.mts`), programOf(readme)]);
  for (const [name, options] of Object.entries(RESOLUTIONS)) {
    const errors = typeErrors(Object.fromEntries(programs), options, (path) => path.includes('/node_modules/@atelier/'));
    if (errors.length > 0) throw new Error(`the built types, module resolution ${name}:\n${errors.join('\n')}`);
  }
  console.log(`the programs of ${programs.length} READMEs fit the built types (${Object.keys(RESOLUTIONS).join(', ')})`);
}
