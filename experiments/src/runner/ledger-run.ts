import { min } from 'd3-array';
import { unknown } from '@atelier/tensor';
import { configHash, resolveConfig } from './config.ts';
import { StopError } from './errors.ts';
import type { Experiment } from './experiment.ts';
import { decide, readRecords, type Decision } from './kept-run.ts';
import { readLedger } from './ledger.ts';
import { timeText } from './progress.ts';
import type { Audience } from './run-context.ts';
import type { RunRecord } from './run-folder.ts';
import { resumeRun, startRun, type RunRequest } from './run.ts';

/** What is to be done for one paper: nothing, to go on with a run that stopped, or a new run. */
interface PlannedRun extends Decision {
  readonly experiment: string;
  readonly preset: string;
  readonly action: 'keep' | 'resume' | 'run';
  /** The shortest time that the preset has taken, here or in the committed ledger. */
  readonly seconds?: number;
}

/**
 * What is missing for the ledger: a finished run of the preset, with the seed 0, for every paper that has it. A run is kept if its configuration is that of the preset now and
 * the code of its paper is as it was (see `sameCode`).
 *
 * @param ledger path of the committed `results.json`, where times are looked up
 * @throws StopError if no experiment has the preset
 */
export function planLedger(experiments: readonly Experiment[], runs: string, preset: string, ledger: string): PlannedRun[] {
  const having = experiments.filter(({ presets }) => preset in presets);
  if (having.length === 0) {
    const known = [...new Set(experiments.flatMap(({ presets }) => Object.keys(presets)))];
    throw new StopError(unknown('preset', preset, known));
  }
  const records = readRecords(runs);
  return having.map((experiment) => {
    const own = records.filter((record) => record.experiment === experiment.name && record.preset === preset && record.seed === 0);
    const seconds = shortest(experiment.name, preset, own, ledger);
    return { experiment: experiment.name, preset, ...whatToDo(experiment, preset, own, runs), ...(seconds !== undefined && { seconds }) };
  });
}

function whatToDo(
  experiment: Experiment,
  preset: string,
  own: readonly RunRecord[],
  runs: string,
): Pick<PlannedRun, 'action' | 'run' | 'reason'> {
  const hash = configHash(resolveConfig(experiment, preset, []));
  if (own.length > 0 && own.every(({ configHash: other }) => other !== hash)) return { action: 'run', reason: 'the preset has changed' };
  const { action, ...facts } = decide(experiment, own, hash, runs);
  return action === 'busy' ? { action: 'run', reason: 'the run before goes on now' } : { action, ...facts };
}

/** The shortest run of a preset in seconds: of the finished ones here, and of those in the committed ledger, from the time in their id to their last claim. */
function shortest(experiment: string, preset: string, own: readonly RunRecord[], ledger: string): number | undefined {
  const here = own.flatMap(({ status, resumed, started, ended }) =>
    status === 'finished' && resumed === 0 && ended !== undefined ? [(Date.parse(ended) - Date.parse(started)) / 1000] : [],
  );
  const ends = new Map<string, number>();
  for (const record of readLedger(ledger, { missing: [] }))
    if (record.experiment === experiment && record.preset === preset && !record.changed)
      ends.set(record.run, Math.max(ends.get(record.run) ?? 0, Date.parse(record.date)));
  const there = [...ends].flatMap(([run, end]) => {
    const [, y, mo, d, h, mi, s] = /(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)(-\d+)?$/.exec(run) ?? [];
    return y === undefined ? [] : [(end - Date.UTC(+y, +mo! - 1, +d!, +h!, +mi!, +s!)) / 1000];
  });
  // A clock that was set back in a run gives a time below zero.
  return min([...here, ...there].filter((seconds) => seconds > 0));
}

/** The plan in words, a line for each paper, and what it takes in all. */
export function planLines(plan: readonly PlannedRun[]): string[] {
  const width = Math.max(...plan.map(({ experiment }) => experiment.length));
  const missing = plan.filter(({ action }) => action !== 'keep');
  const line = ({ experiment, action, run, reason, seconds }: PlannedRun): string => {
    const time = seconds === undefined ? 'time not known' : `about ${timeText(seconds)}`;
    const words = {
      keep: `kept: ${run}`,
      resume: `goes on: ${run}, at most ${time.replace('about ', '')}`,
      run: `to run, ${time}${reason === undefined ? '' : ` (${reason})`}`,
    }[action];
    return `${experiment.padEnd(width)}  ${words}`;
  };
  const known = missing.reduce((sum, { seconds = 0 }) => sum + seconds, 0);
  const open = missing.filter(({ seconds }) => seconds === undefined).length;
  const total =
    missing.length === 0
      ? 'nothing is missing'
      : `${missing.length} of ${plan.length} to run, about ${timeText(known)}${open > 0 ? ` and ${open} whose time is not known` : ''}`;
  return [...plan.map(line), total];
}

/** Carries a plan out, one run after the other. Ctrl-C stops the run that goes on; the same command goes on with it later. @throws StopError | Interrupted */
export async function runPlan(
  experiments: readonly Experiment[],
  plan: readonly PlannedRun[],
  { runs, engine }: Pick<RunRequest, 'runs' | 'engine'>,
  audience: Audience,
): Promise<void> {
  for (const { experiment, preset, action, run } of plan) {
    if (action === 'resume') await resumeRun(experiments, runs, run!, audience);
    else if (action === 'run') await startRun(experiments, { experiment, preset, words: [], runs, engine }, audience);
  }
}
