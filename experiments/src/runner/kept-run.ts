import { join } from 'node:path';
import { sameCode } from './code-version.ts';
import type { Experiment } from './experiment.ts';
import { RunFolder, runIds, type RunRecord } from './run-folder.ts';

/** What is to be done for a configuration: nothing, to go on with a run that stopped, or a new run. */
export interface Decision {
  /** `busy`: a process runs it now. */
  readonly action: 'keep' | 'resume' | 'run' | 'busy';
  /** The run that is kept, goes on, or is being run. */
  readonly run?: string;
  /** Why an earlier run is not kept. */
  readonly reason?: string;
}

/** The records of all runs of a folder that can be read; `atelier runs` names the others. */
export function readRecords(runs: string): RunRecord[] {
  return runIds(runs).flatMap((id): RunRecord[] => {
    try {
      return [RunFolder.at(join(runs, id)).record];
    } catch {
      return [];
    }
  });
}

/**
 * Looks for a run of exactly one configuration, made by the code as it is now: a finished one is kept, a stopped one goes on.
 *
 * @param own the runs that may count, oldest first
 * @param hash of the configuration
 */
export function decide(experiment: Experiment, own: readonly RunRecord[], hash: string, runs: string): Decision {
  const same = own.filter(({ configHash: other }) => other === hash);
  if (same.length === 0) return { action: 'run' };
  const current = same.filter((record) => sameCode(record, experiment));
  if (current.length === 0) return { action: 'run', reason: 'its code has changed' };
  const finished = current.findLast(({ status }) => status === 'finished');
  if (finished) return { action: 'keep', run: finished.id };
  const running = current.find(({ id }) => RunFolder.at(join(runs, id)).isRunning);
  if (running) return { action: 'busy', run: running.id };
  const stopped = current.findLast(({ status }) => status !== 'failed');
  return stopped ? { action: 'resume', run: stopped.id } : { action: 'run', reason: 'the run before failed' };
}

/** `decide` for one run of an experiment as its folder is now. */
export function decideNow(
  experiment: Experiment,
  { preset, configHash }: Pick<RunRecord, 'preset' | 'configHash'>,
  runs: string,
): Decision {
  const own = readRecords(runs).filter((record) => record.experiment === experiment.name && record.preset === preset);
  return decide(experiment, own, configHash, runs);
}
