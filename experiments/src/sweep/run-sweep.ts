import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { checkNumber } from '@atelier/tensor';
import { Interrupted, sentence, StopError } from '../runner/errors.ts';
import type { Experiment } from '../runner/experiment.ts';
import { decide, decideNow, readRecords, type Decision } from '../runner/kept-run.ts';
import type { Screen } from '../runner/progress.ts';
import { findExperiment, type RunRequest } from '../runner/run.ts';
import { typedCommand } from '../runner/typed-command.ts';
import { writeFile } from '../runner/write-file.ts';
import { LiveTable } from './live-table.ts';
import { runProcess, type Program } from './run-process.ts';
import { ofShard, type Shard } from './shard.ts';
import { planSweep, type SweepJob, type SweepPlan } from './sweep-plan.ts';

export interface SweepRequest extends RunRequest {
  readonly way: 'grid' | 'list';
  /** The part of the sweep that is run here; all of it if absent. */
  readonly shard?: Shard | undefined;
  /** Whether runs that are finished are made again. */
  readonly repeat: boolean;
  /** Processes side by side; by default as many as there are cores, each with one thread. */
  readonly processes?: number | undefined;
}

/** Where a sweep prints, how it is stopped, and how to start the command line in a process of its own. */
export interface SweepStage {
  readonly signal: AbortSignal;
  readonly screen: Screen;
  readonly program: Program;
}

/**
 * Carries out the runs of a sweep in processes that share the cores. A run that is finished is kept if its configuration and the code are the same; a run that
 * stopped goes on. So the same command goes on with a sweep that was killed.
 *
 * @returns the jobs of the sweep that belong to this shard
 * @throws StopError if a run failed, after all others; Interrupted after Ctrl-C
 */
export async function runSweep(experiments: readonly Experiment[], request: SweepRequest, stage: SweepStage): Promise<readonly SweepJob[]> {
  const { runs, shard } = request;
  const experiment = findExperiment(experiments, request.experiment);
  const plan = planSweep(experiment, request.preset, request.words, request.way);
  const jobs = shard === undefined ? plan.jobs : ofShard(plan.jobs, shard);
  const { processes, threads } = shareCores(request, jobs.length);
  await writePlan(runs, plan);
  const own = readRecords(runs).filter((record) => record.experiment === experiment.name && record.preset === request.preset);
  const decisions = jobs.map(({ configHash }): Decision =>
    request.repeat ? { action: 'run' } : decide(experiment, own, configHash, runs),
  );
  const open = decisions.filter(({ action }) => action !== 'keep').length;
  const part = shard === undefined ? '' : `, part ${shard.index} of ${shard.count}`;
  stage.screen.write(
    `sweep ${plan.name}${part}: ${jobs.length} runs, ${open} to do, ${processes} side by side with ${threads} ${threads === 1 ? 'thread' : 'threads'} each\n`,
  );
  const table = new LiveTable(
    stage.screen,
    jobs.map(({ label }) => label),
  );
  let failed = 0;
  const carryOut = async (at: number): Promise<void> => {
    const job = jobs[at]!;
    let decision = decisions[at]!;
    if (decision.action === 'keep') return table.end(at, 'kept', decision.run!);
    table.begin(at);
    while (decision.action === 'busy') {
      table.tell(at, `waits for the process that runs ${decision.run}`);
      await wait(500, undefined, { signal: stage.signal });
      decision = decideNow(experiment, job, runs);
      if (decision.action === 'keep') return table.end(at, 'kept', decision.run!);
    }
    const words = jobCommand(job, decision, { ...request, threads });
    const { code, words: said } = await runProcess(stage.program, words, { signal: stage.signal, line: (text) => table.tell(at, text) });
    if (code !== 0) failed++;
    table.end(at, code === 0 ? 'finished' : 'failed', said);
  };
  // What another process runs now comes last.
  const queue = jobs.map((_, at) => at).sort((a, b) => Number(decisions[a]!.action === 'busy') - Number(decisions[b]!.action === 'busy'));
  const worker = async (): Promise<void> => {
    for (let at = queue.shift(); at !== undefined && !stage.signal.aborted; at = queue.shift())
      try {
        await carryOut(at);
      } catch (error) {
        if (!stage.signal.aborted) [failed] = [failed + 1, table.end(at, 'failed', sentence(error))];
      }
  };
  await Promise.all(Array.from({ length: processes }, worker));
  table.close();
  const again = typedCommand(['sweep', request.experiment, request.preset, ...request.words], runs);
  if (stage.signal.aborted) throw new Interrupted(`the sweep was stopped; go on with the same command: ${again}`);
  if (failed > 0) throw new StopError(`${failed} of ${jobs.length} runs failed; go on with the others by the same command: ${again}`);
  return jobs;
}

/** The command line of one run. */
export function jobCommand(
  { experiment, preset, words }: Pick<SweepJob, 'experiment' | 'preset' | 'words'>,
  { action, run }: Decision,
  { runs, engine, threads }: Pick<RunRequest, 'runs' | 'engine'> & { threads: number },
): string[] {
  if (action === 'resume') return ['resume', run!, '--runs', runs];
  const options = [
    ...(engine.name === undefined ? [] : ['--engine', engine.name]),
    ...(engine.device === undefined ? [] : ['--device', engine.device]),
  ];
  return ['run', experiment, preset, ...words, '--runs', runs, ...options, '--threads', String(threads)];
}

/** Processes and threads of each, so that all cores are used and none twice. */
function shareCores({ processes: asked, engine }: SweepRequest, jobs: number): { processes: number; threads: number } {
  const cores = availableParallelism();
  if (asked !== undefined) checkNumber('sweep: processes', asked, { integer: true, min: 1, max: 1024 });
  const most = asked ?? Math.max(1, Math.floor(cores / (engine.threads ?? 1)));
  const processes = Math.max(1, Math.min(most, jobs));
  return { processes, threads: engine.threads ?? Math.max(1, Math.floor(cores / processes)) };
}

/** `sweeps/<name>.json` in the folder of the runs: what `atelier merge` checks. It depends on the words only, so all shards write the same. */
export const writePlan = (runs: string, plan: SweepPlan): Promise<void> =>
  writeFile(join(runs, 'sweeps', `${plan.name}.json`), `${JSON.stringify(plan, null, 2)}\n`);
