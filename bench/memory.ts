/**
 * `pnpm bench memory`: checks that nothing grows. For every paper it runs 10,000 training steps of its experiment and draws 1,000 samples by each of its
 * samplers, with small networks. Each work has a process of its own, so that memory that another one has freed cannot hide what grows. After each tenth
 * of a work it prints the numbers of tensors, native sessions and native threads, the heap of JavaScript, and the resident memory. The counts must be
 * equal after the first tenth and at the end. Memory in the second half must be that of the first half, within 1 %.
 */
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { benchArguments, runBench } from './harness/arguments.ts';
import { changedCounts, LAPS, LEVEL, type Lap, type RepeatedWork } from './harness/laps.ts';
import { machineDescription } from './harness/machine.ts';
import { report, type ReportRow } from './harness/report.ts';
import { repeatedWorks } from './workloads/memory/index.ts';

/** With `--quick`, a work is done this many times less often. */
const QUICK = 20;
const program = join(dirname(fileURLToPath(import.meta.url)), 'peers', 'memory.ts');
const columns = (first: string, ...rest: (string | number)[]): string =>
  first.padEnd(24) + rest.map((one) => `${one}`.padStart(12)).join('');
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

async function lapsOf(name: string, { unit, environment }: RepeatedWork, total: number): Promise<Lap[]> {
  console.log(`\n${columns(name, unit, 'tensors', 'sessions', 'threads', 'heap', 'resident')}`);
  const words = ['--import', 'tsx', '--expose-gc', '--conditions=@atelier/source', program, name, String(total)];
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...environment } });
  const ended = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  const laps: Lap[] = [];
  for await (const line of createInterface(child.stdout)) {
    const lap = JSON.parse(line) as Lap;
    laps.push(lap);
    console.log(columns('', lap.done, lap.tensors, lap.sessions, lap.threads, mebibytes(lap.heap), mebibytes(lap.resident)));
  }
  const code = await ended;
  if (code !== 0 || laps.length === 0) throw new Error(`bench memory: ${name}: wanted a process that ends well, got exit code ${code}`);
  return laps;
}

/**
 * The least of the second half of the laps against the least of the first half: a warm-up leaves memory that some later lap gives back, and a checkpoint
 * or a picture that was just written adds some to a single lap.
 */
function memoryRow(name: string, kind: 'heap' | 'resident', laps: readonly Lap[], note: string): ReportRow {
  const half = Math.ceil(laps.length / 2);
  const [before, after] = [laps.slice(0, half), laps.slice(half)].map((part) => Math.min(...part.map((lap) => lap[kind]))) as [
    number,
    number,
  ];
  const ends = `after 1/${LAPS} ${mebibytes(laps[0]![kind])}, at the end ${mebibytes(laps.at(-1)![kind])}`;
  return {
    name: `${name}, ${kind}`,
    peer: 'its first half',
    ratio: before / after,
    bound: 1 - LEVEL,
    ours: mebibytes(after),
    theirs: mebibytes(before),
    note: note === '' ? ends : `${ends}; ${note}`,
  };
}

await runBench(async () => {
  const names = Object.keys(repeatedWorks);
  const words = process.argv.slice(2);
  const args = benchArguments(words, names, 'memory');
  console.log(machineDescription());
  const rows: ReportRow[] = [];
  const changed: string[] = [];
  for (const name of names) {
    if (args.only !== undefined && args.only !== name) continue;
    const work = repeatedWorks[name]!;
    const laps = await lapsOf(name, work, words.includes('--quick') ? work.total / QUICK : work.total);
    const [first, last] = [laps[0]!, laps.at(-1)!];
    changed.push(...changedCounts(first, last).map((text) => `${name}: ${text}`));
    const note = `tensors ${last.tensors}, sessions ${last.sessions}, threads ${last.threads}`;
    rows.push(memoryRow(name, 'heap', laps, note), memoryRow(name, 'resident', laps, ''));
  }
  report(rows, args.json);
  if (changed.length > 0) throw new Error(`bench memory: ${changed.join('; ')}`);
});
