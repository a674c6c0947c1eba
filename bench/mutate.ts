/**
 * `pnpm bench mutate`: what do damaged inputs do? Valid inputs of every kind (settings, files of every format, run folders, command lines) are changed at random and read. Each must be refused with
 * one sentence, or be read as what it says. A process reads one kind: if it crashes or hangs, that is a fault too, and the number of the case is known.
 */
import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { casesOf, mutatedKinds, readMutated, type MutatedResult } from '@atelier/experiments/mutations';
import { machineDescription } from './harness/machine.ts';

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '0' },
    only: { type: 'string' },
    from: { type: 'string', default: '0' },
    child: { type: 'string' },
  },
});
const [cases, seed, from] = [Number(values.cases), Number(values.seed), Number(values.from)];
/** Seconds without a sign of life after which a process has hung, and cases between two signs. */
const [PATIENCE, BEAT] = [120, 10];

type Said = { at: number } | { result: MutatedResult };

/** Reads all cases of a kind in this process and tells the one that started it. */
async function readHere(name: string): Promise<void> {
  const kind = mutatedKinds.find((one) => one.name === name)!;
  const place = mkdtempSync(join(tmpdir(), 'atelier-mutate-'));
  try {
    const folder = join(place, 'inputs');
    mkdirSync(folder);
    const count = values.only === undefined ? casesOf(kind, cases) : cases;
    const result = await readMutated(kind, { seed, from, count, folder }, (at) => {
      if (at % BEAT === 0) process.send!({ at } satisfies Said);
    });
    await new Promise((sent) => process.send!({ result } satisfies Said, sent));
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

/** Reads the cases of a kind in a process of its own. */
function readApart(name: string): Promise<MutatedResult> {
  const child = fork(fileURLToPath(import.meta.url), [...process.argv.slice(2), '--child', name], { execArgv: process.execArgv });
  let [at, hung, result] = [from, false, undefined as MutatedResult | undefined];
  let timer = setTimeout(() => {}, 0);
  const wait = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => ((hung = true), child.kill('SIGKILL')), 1000 * PATIENCE);
  };
  wait();
  child.on('message', (said: Said) => {
    if ('at' in said) at = said.at;
    else result = said.result;
    wait();
  });
  return new Promise((done) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const fault = hung ? `gave no sign for ${PATIENCE} s` : `ended with ${signal ?? code}`;
      const lost = { index: at, fault: `the process ${fault} at one of ${BEAT} cases from this one on`, input: '' };
      done(result ?? { kind: name, tried: at - from, refused: 0, accepted: 0, faults: [lost] });
    });
  });
}

async function readAll(): Promise<void> {
  console.log(`${machineDescription()}; seed ${seed}`);
  const width = Math.max(...mutatedKinds.map(({ name }) => name.length));
  const row = (kind: string, ...cells: (string | number)[]): void =>
    console.log(`${kind.padEnd(width)}${cells.map((one) => String(one).padStart(10)).join('')}`);
  row('kind', 'tried', 'refused', 'accepted', 'faults', 'seconds');
  const all: MutatedResult[] = [];
  for (const { name } of mutatedKinds.filter((one) => values.only === undefined || one.name === values.only)) {
    const began = performance.now();
    const result = await readApart(name);
    all.push(result);
    row(name, result.tried, result.refused, result.accepted, result.faults.length, Math.round((performance.now() - began) / 1000));
    for (const { index, fault, input } of result.faults.slice(0, 20)) console.log(`  case ${index}: ${fault}\n    ${input}`);
  }
  if (all.length === 0)
    throw new Error(`mutate: wanted one of ${mutatedKinds.map(({ name }) => `'${name}'`).join(', ')}, got '${values.only}'`);
  const sum = (of: (one: MutatedResult) => number): number => all.reduce((total, one) => total + of(one), 0);
  const faults = sum((one) => one.faults.length);
  row('all', sum((one) => one.tried), sum((one) => one.refused), sum((one) => one.accepted), faults); // prettier-ignore
  process.exitCode = faults === 0 ? 0 : 1;
}

await (values.child === undefined ? readAll() : readHere(values.child));
