import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { claimRecordSchema, type ClaimRecord } from '../src/runner/claims.ts';
import { configHash } from '../src/runner/config.ts';
import { readLedger } from '../src/runner/ledger.ts';
import { readMetrics, type MetricsLine } from '../src/runner/metrics-file.ts';
import { readClaims } from '../src/runner/run-context.ts';
import { RunFolder } from '../src/runner/run-folder.ts';
import { experiments } from '../src/registry.ts';
import { mergeRunFolders } from '../src/sweep/merge.ts';
import type { MutatedKind } from './read.ts';
import { wrongJson } from './settings.ts';

const claim: ClaimRecord = {
  paper: 'meanflow',
  experiment: 'meanflow',
  id: 'one-step',
  claim: 'A claim.',
  where: 'Table 1',
  published: '1',
  how: 'measured',
  bound: { atMost: 2 },
  measured: 1.5,
  verdict: 'reproduced',
  run: 'r',
  preset: 'smoke',
  changed: false,
  seed: 0,
  configHash: 'c',
  engine: 'ort',
  commit: 'unknown',
  machine: 'a machine',
  date: '2026-01-01T00:00:00.000Z',
};

export const metrics: MutatedKind = {
  name: 'metrics.jsonl',
  share: 8,
  async open(folder) {
    const lines = [
      { series: 'a', step: 1, loss: 0.5 },
      { series: 'a', step: 2, loss: 1e-7, ms: 3 },
      { series: 'b', step: 1, 'error r=t': -2 },
    ];
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    const path = join(folder, 'metrics.jsonl');
    return (mutator) => {
      const mutated = mutator.below(2) === 0 ? `${JSON.stringify(lines[0])}\n${mutator.json(lines[1])}\n` : mutator.text(text);
      return {
        input: mutated,
        read: () => {
          writeFileSync(path, mutated);
          return readMetrics(path);
        },
        wrong: (found: MetricsLine[]) => {
          const whole = mutated.split('\n').slice(0, -1);
          // What UTF-8 cannot hold is read as a mark.
          const wanted = whole.map((line) => JSON.parse(Buffer.from(line).toString()) as MetricsLine);
          if (!isDeepStrictEqual(found, wanted)) return 'other lines than the text has';
          const odd = found.find(({ series, step, ...numbers }) => typeof series !== 'string' || ![step, ...Object.values(numbers)].every((one) => Number.isFinite(one))); // prettier-ignore
          if (odd !== undefined) return `a line with numbers that are none: ${JSON.stringify(odd).slice(0, 100)}`;
          return whole.map(wrongJson).find((fault) => fault !== undefined);
        },
      };
    };
  },
};

/** Both files hold records of claims. */
export const claims: MutatedKind = {
  name: 'claims.json and the ledger',
  share: 8,
  async open(folder) {
    const rows = [claim, { ...claim, id: 'two', bound: { outOfReach: 'why' }, detail: 'a detail' }];
    return (mutator) => {
      const text = mutator.json(rows);
      const ledger = mutator.below(2) === 0;
      const path = join(folder, 'claims.json');
      return {
        input: text,
        read: () => {
          writeFileSync(path, text);
          return ledger ? readLedger(path) : readClaims(folder);
        },
        wrong: (found: unknown) => {
          const wanted = JSON.parse(Buffer.from(text).toString()) as unknown;
          if (!isDeepStrictEqual(found, wanted)) return 'other records than the text has';
          if (!Array.isArray(wanted) || !wanted.every((row) => claimRecordSchema.safeParse(row).success)) return 'a record that is none';
          return wrongJson(text);
        },
      };
    };
  },
};

export const locks: MutatedKind = {
  name: 'lock of a run',
  share: 3,
  async open(folder) {
    const record = runRecord('20260101-000000');
    writeFileSync(join(folder, 'run.json'), JSON.stringify(record));
    const place = RunFolder.at(folder);
    const lock = { pid: 2 ** 22 + 1, began: '12', host: hostname() };
    return (mutator) => {
      const text = mutator.json(mutator.below(3) === 0 ? { ...lock, host: 'another' } : lock);
      return {
        input: text,
        read: () => {
          writeFileSync(join(folder, 'lock'), text);
          // Taking the lock says who holds it.
          if (!place.isRunning) return false;
          place.lock();
          place.unlock();
          return true;
        },
        // A lock that names no process that lives, here or on a machine of another name, does not keep anybody out.
        wrong: (running: boolean) => (running ? 'a lock that is held and can be taken' : undefined),
      };
    };
  },
};

const runRecord = (time: string): Record<string, unknown> => ({
  id: `meanflow-smoke-${time}`,
  experiment: 'meanflow',
  preset: 'smoke',
  words: [],
  config: { seed: 0 },
  configHash: configHash({ seed: 0 }),
  seed: 0,
  engine: { name: 'ort' },
  commit: 'unknown',
  machine: 'a machine',
  versions: {},
  status: 'finished',
  started: '2026-01-01T00:00:00.000Z',
  resumed: 0,
});

export const sweepPlans: MutatedKind = {
  name: 'plan of a sweep',
  share: 4,
  async open(folder) {
    const record = runRecord('20260101-000000');
    mkdirSync(join(folder, String(record['id'])), { recursive: true });
    writeFileSync(join(folder, String(record['id']), 'run.json'), JSON.stringify(record));
    const job = { experiment: 'meanflow', preset: 'smoke', words: ['seed=0'], label: 'seed=0', configHash: record['configHash'] };
    const plan = { name: 'meanflow-smoke-1a2b3c4d5e6f', jobs: [job] };
    return (mutator) => {
      const text = mutator.json(plan);
      return {
        input: text,
        read: async () => {
          rmSync(join(folder, 'sweeps'), { recursive: true, force: true });
          mkdirSync(join(folder, 'sweeps'));
          writeFileSync(join(folder, 'sweeps', 'plan.json'), text);
          return mergeRunFolders(experiments, [folder], folder);
        },
        wrong: (lines: string[]) => {
          const { jobs } = JSON.parse(text) as typeof plan;
          if (new Set(jobs.map(({ configHash: one }) => one)).size !== jobs.length) return `a run twice: ${lines[0]}`;
          if (jobs.some(({ configHash: one }) => one !== job.configHash)) return 'a run that is not there';
          return wrongJson(text);
        },
      };
    };
  },
};
