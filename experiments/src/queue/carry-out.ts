import { plainText } from '@atelier/tensor';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { onDisk, sentence } from '../runner/errors.ts';
import type { Experiment } from '../runner/experiment.ts';
import { FileLock } from '../runner/file-lock.ts';
import { decideNow, type Decision } from '../runner/kept-run.ts';
import type { RunRequest } from '../runner/run.ts';
import { runProcess, type Program } from '../sweep/run-process.ts';
import { jobCommand } from '../sweep/run-sweep.ts';
import type { Bucket } from './bucket.ts';
import { jobName, type JobMessage } from './job-message.ts';
import { fetchRun, isStored, RunCopy } from './run-store.ts';

export interface JobRequest extends Pick<RunRequest, 'runs' | 'engine'> {
  /** Threads of each run. */
  readonly threads: number;
  /** Storage that run folders are copied to; absent where all workers share the folder of the runs. */
  readonly store?: Bucket | undefined;
}

/** How a worker is stopped, where it says what it does, and how to start the command line in a process of its own. */
export interface JobStage {
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  readonly program: Program;
}

/** The job cannot be done now. It goes back into the queue and does not count as a failure. */
export class Later extends Error {}

/** The worker was stopped; another one can go on at once. */
export class Stopped extends Error {}

/** The run, or the storage of its copy, has failed. It may work the next time. */
export class RunFailed extends Error {}

/** Does what is left of a job, unless another worker does it now. @returns the id of the finished run @throws Later | Stopped | RunFailed */
export async function carryOut(message: JobMessage, experiment: Experiment, request: JobRequest, stage: JobStage): Promise<string> {
  const jobs = join(request.runs, '.jobs');
  onDisk(jobs, () => mkdirSync(jobs, { recursive: true }));
  // A job is delivered twice if its first worker is cut off from Redis but alive.
  const lock = new FileLock(join(jobs, jobName(message)));
  const holder = lock.take();
  if (holder !== undefined) throw new Later(`the job is being done by ${holder}`);
  try {
    return await finishRun(message, experiment, request, stage);
  } catch (error) {
    if (error instanceof Later || error instanceof Stopped) throw error;
    throw new RunFailed(sentence(error), { cause: error });
  } finally {
    lock.release();
  }
}

async function finishRun(
  message: JobMessage,
  experiment: Experiment,
  request: JobRequest,
  { signal, say, program }: JobStage,
): Promise<string> {
  const { runs, store } = request;
  const name = jobName(message);
  const label = plainText(`${message.experiment} ${message.preset} ${message.words.join(' ')}`);
  const state = (): Decision => decideNow(experiment, message, runs);
  const isOpen = ({ action }: Decision): boolean => action === 'run' || action === 'resume';
  if (store !== undefined && isOpen(state())) await fetchRun(store, name, [experiment], runs);
  const decision = state();
  if (decision.action === 'busy') throw new Later(`${decision.run} is being run`);
  const isThere = store !== undefined && decision.action === 'keep' && (await isStored(store, name));
  const copy = store === undefined || isThere ? undefined : await RunCopy.begin(store, name, runs);
  if (decision.action !== 'keep') {
    say(`${label}: ${decision.action === 'resume' ? `goes on with ${decision.run}` : 'begins'}`);
    const ended = new AbortController();
    const copies = copy?.keepPutting(() => state().run, ended.signal);
    const { code, words } = await runProcess(program, jobCommand(message, decision, request), { signal, line: () => {} });
    ended.abort();
    await copies;
    if (signal.aborted) {
      const { run } = state();
      // Others could go on from an earlier copy, too.
      if (run !== undefined) await copy?.put(run).catch(() => undefined);
      throw new Stopped('the worker was stopped');
    }
    if (code !== 0) throw new RunFailed(words);
  }
  const { run } = state();
  if (run === undefined) throw new RunFailed('the run is finished but cannot be found');
  await copy?.put(run);
  say(`${label}: ${decision.action === 'keep' ? 'was finished' : 'finished'}: ${run}`);
  return run;
}
