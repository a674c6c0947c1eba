import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { onDisk, sentence } from './errors.ts';
import { readMetrics } from './metrics-file.ts';
import { RunFolder } from './run-folder.ts';

/** A folder among the runs. */
export interface ListedRun {
  readonly id: string;
  /** The status in run.json; `killed` if it says `running` but no process runs it; `damaged` without a readable run.json. */
  readonly status: 'running' | 'killed' | 'finished' | 'interrupted' | 'failed' | 'damaged';
  /** Whether nothing was computed that is worth keeping: no checkpoint, no line of metrics, no picture. */
  readonly empty: boolean;
  /** Why it failed, or what is wrong with its run.json. */
  readonly reason: string;
}

/** Folders that look like runs, in the order of their names' times. */
export function listRuns(runs: string): ListedRun[] {
  if (!existsSync(runs)) return [];
  const names = onDisk(runs, () => readdirSync(runs, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory() && /\d{8}-\d{6}(-\d+)?$/.test(entry.name))
    .map((entry) => entry.name);
  const time = (id: string): string => /\d{8}-\d{6}(-\d+)?$/.exec(id)![0];
  return names.sort((a, b) => time(a).localeCompare(time(b))).map((id) => listed(join(runs, id), id));
}

function listed(path: string, id: string): ListedRun {
  const empty = isEmpty(path);
  try {
    const folder = RunFolder.at(path);
    const { status, reason = '' } = folder.record;
    return { id, status: status === 'running' && !folder.isRunning ? 'killed' : status, empty, reason };
  } catch (error) {
    return { id, status: 'damaged', empty, reason: sentence(error) };
  }
}

/** Whether a run folder holds no result: no checkpoint, no line of metrics, no picture, no claim. */
export function isEmpty(path: string): boolean {
  const filled = (name: string): boolean => existsSync(join(path, name)) && readdirSync(join(path, name)).length > 0;
  const metrics = join(path, 'metrics.jsonl');
  const lines = (): number => {
    try {
      return readMetrics(metrics).length;
    } catch {
      return 1;
    }
  };
  return (
    !['checkpoints', 'samples', 'figures'].some(filled) && !existsSync(join(path, 'claims.json')) && (!existsSync(metrics) || lines() === 0)
  );
}

/** Removes failed and empty runs; runs that go on now, and all others, stay. Returns what was removed. */
export function removeRuns(runs: string): ListedRun[] {
  const gone = listRuns(runs).filter(({ status, empty }) => status !== 'running' && (status === 'failed' || empty));
  for (const { id } of gone) onDisk(join(runs, id), () => rmSync(join(runs, id), { recursive: true }));
  return gone;
}
