// `npm start` and `npm test` on a machine that has Node and nothing else: installs what is missing, then runs. Uses only what comes with Node.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { countTests } from './count-tests.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const [command, ...words] = process.argv.slice(2);

// Ctrl-C reaches the whole group of processes; this one waits for the work to end in order and passes its code on.
process.on('SIGINT', () => {});
process.exitCode = await main();

async function main() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) return fail(`wanted Node 20.19 or newer, got ${process.versions.node}`);
  if (command !== 'start' && command !== 'test') return fail(`scripts/install-and-run.mjs: wanted start or test, got '${command ?? ''}'`);
  const installed = await install();
  if (installed !== 0) return installed;
  if (command === 'test' && words.includes('--watch')) return run('npx', ['vitest', ...words]);
  return command === 'start' ? start() : test();
}

/** Installs with the pinned pnpm unless the lock file is the one that was installed last. */
async function install() {
  const mark = join(root, 'node_modules', '.installed');
  const lock = readFileSync(join(root, 'pnpm-lock.yaml'));
  const wanted = createHash('sha256').update(lock).update(`${packageManager} ${process.platform} ${process.arch}`).digest('hex');
  if (existsSync(mark) && readFileSync(mark, 'utf8') === wanted) return 0;
  console.log(`installing with ${packageManager} …`);
  const code = await run('npx', ['--yes', packageManager, 'install', '--frozen-lockfile']);
  if (code !== 0) return fail(`the installation ended with code ${code}; it needs the npm registry once`, code);
  writeFileSync(mark, wanted);
  return 0;
}

/**
 * The tour of all papers. With words, `atelier run` with them: `meanflow` alone is a longer run of that paper, MeanFlow beside flow matching on letters, small
 * enough for two cores.
 */
async function start() {
  const job = words.length === 0 ? ['tour'] : ['run', ...(words.join() === 'meanflow' ? ['meanflow', 'start'] : words)];
  const began = Date.now();
  const code = await run(process.execPath, [
    '--import',
    'tsx',
    '--conditions=@atelier/source',
    join('experiments', 'src', 'cli.ts'),
    ...job,
  ]);
  if (code === 0) {
    console.log(
      `\ndone in ${Math.round((Date.now() - began) / 1000)} s: open the page above in a browser; \`npx atelier list\` shows what else can be run`,
    );
  }
  return code;
}

/** All tests of all packages, then one line that counts them. */
async function test() {
  const results = mkdtempSync(join(tmpdir(), 'atelier-test-results-'));
  try {
    const cores = availableParallelism();
    const concurrency = Math.min(4, cores);
    // Packages whose tests run at the same time share the cores. With more threads than cores, threads would only wait for each other.
    const threads = process.env.ATELIER_THREADS ?? String(Math.max(1, Math.floor(cores / concurrency)));
    const turbo = ['--yes', packageManager, 'exec', 'turbo', 'run', 'test', '--continue', `--concurrency=${concurrency}`, ...words];
    const code = await run('npx', turbo, { ATELIER_TEST_RESULTS: results, ATELIER_THREADS: threads, TURBO_TELEMETRY_DISABLED: '1' });
    const { passed, failed, skipped, skips, problems } = countTests(results);
    for (const problem of problems) console.log(problem);
    for (const skip of skips) console.log(skip);
    if (skipped > 0) console.log(`${skipped} skipped`);
    // A package that ends before it reports its counts is a failure too.
    const failures = failed === 0 && code !== 0 ? 1 : failed;
    console.log(`${passed} passed, ${failures} failed`);
    return code !== 0 ? code : failures > 0 ? 1 : 0;
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
}

/** Runs a program with this terminal; its exit code, 128 + number for a signal. */
function run(program, args, env = {}) {
  return new Promise((done) => {
    const child = spawn(program, args, {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, ...env },
      shell: process.platform === 'win32',
    });
    child.on('error', (error) => done(fail(`${program} did not start: ${error.message}`)));
    child.on('close', (code, signal) => done(code ?? (signal === 'SIGINT' ? 130 : 1)));
  });
}

function fail(sentence, code = 1) {
  console.error(sentence);
  return code;
}
