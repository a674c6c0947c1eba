import { setTimeout as wait } from 'node:timers/promises';
import type { Job, Queue } from 'bullmq';
import { Interrupted, sentence, StopError } from '../runner/errors.ts';
import type { Experiment } from '../runner/experiment.ts';
import { decideNow } from '../runner/kept-run.ts';
import { findExperiment } from '../runner/run.ts';
import { LiveTable } from '../sweep/live-table.ts';
import { writePlan, type SweepRequest, type SweepStage } from '../sweep/run-sweep.ts';
import { ofShard, type Shard } from '../sweep/shard.ts';
import { planSweep, type SweepJob } from '../sweep/sweep-plan.ts';
import type { Bucket } from './bucket.ts';
import { checkRedis, Connection, placeText, QUEUE, type RedisPlace } from './connection.ts';
import { jobName, messageOf } from './job-message.ts';
import { fetchRun } from './run-store.ts';

/** Tries of a job whose run fails, and milliseconds before the second one; each further pause is twice as long. */
const [ATTEMPTS, BACKOFF] = [4, 2000];

/** Seconds for which a job that ended is remembered. */
const REMEMBERED = 7 * 24 * 3600;

export interface SubmitRequest extends Pick<SweepRequest, 'experiment' | 'preset' | 'words' | 'runs' | 'way'> {
  readonly redis: RedisPlace;
  /** Where the workers copy their runs to; absent where they share the folder of the runs. */
  readonly store?: Bucket | undefined;
  readonly shard?: Shard | undefined;
}

/**
 * Puts the runs of a sweep into a queue and waits until workers have finished all of them. A job is named after its configuration and the code, so it is there once and counts once,
 * however often it is asked for or delivered. If Redis has lost a job, it is put in again.
 *
 * @returns the jobs of the sweep
 * @throws StopError if a run failed on all its tries, after all others; Interrupted after Ctrl-C, where the jobs stay in the queue
 */
export async function submitSweep(
  experiments: readonly Experiment[],
  request: SubmitRequest,
  { signal, screen }: Pick<SweepStage, 'signal' | 'screen'>,
): Promise<readonly SweepJob[]> {
  const { runs, redis, store, shard } = request;
  const experiment = findExperiment(experiments, request.experiment);
  const plan = planSweep(experiment, request.preset, request.words, request.way);
  const jobs = shard === undefined ? plan.jobs : ofShard(plan.jobs, shard);
  await checkRedis(redis);
  await writePlan(runs, plan);
  const table = new LiveTable(
    screen,
    jobs.map(({ label }) => label),
  );
  const { Queue } = await import('bullmq');
  const queue = new Queue(QUEUE, { connection: new Connection(redis, signal).options });
  const notes = new Set<string>();
  const note = (words: string): void => {
    if (!notes.has(words)) table.note(words);
    notes.add(words);
  };
  queue.on('error', (error) => note(`queue at ${placeText(redis)}: ${sentence(error)}`));
  const submitted = new Submitted(experiment, jobs, queue);
  try {
    await submitted.addAll();
    screen.write(`sweep ${plan.name}: ${jobs.length} runs in the queue at ${placeText(redis)}\n`);
    const failed = await untilDone(submitted, { table, note, signal });
    table.close();
    if (store !== undefined)
      for (const job of jobs)
        if (decideNow(experiment, job, runs).action !== 'keep') await fetchRun(store, submitted.nameOf(job), experiments, runs);
    if (failed > 0) throw new StopError(`${failed} of ${jobs.length} runs failed; the same command tries them again`);
    return jobs;
  } catch (error) {
    // The commands that waited for Redis have failed, too.
    if (!signal.aborted) throw error;
    throw new Interrupted('the sweep was left; its jobs stay in the queue, and the same command waits for them again', { cause: error });
  } finally {
    await queue.close();
  }
}

/** The jobs of a sweep in a queue. */
class Submitted {
  readonly jobs: readonly SweepJob[];
  readonly #experiment: Experiment;
  readonly #queue: Queue;

  constructor(experiment: Experiment, jobs: readonly SweepJob[], queue: Queue) {
    [this.#experiment, this.jobs, this.#queue] = [experiment, jobs, queue];
  }

  nameOf(job: SweepJob): string {
    return jobName(messageOf(this.#experiment, job));
  }

  /** Puts in all jobs. What ended before is looked at again, because its run may be gone since then; a worker keeps it if it is there. */
  async addAll(): Promise<void> {
    for (const job of this.jobs) {
      const before = await this.find(job);
      // It cannot be removed if a worker has just begun it for another sweep.
      if (before !== undefined && ((await before.isCompleted()) || (await before.isFailed()))) await before.remove().catch(() => undefined);
      await this.add(job);
    }
  }

  /** Puts a job in, unless it is there. */
  async add(job: SweepJob): Promise<void> {
    await this.#queue.add('run', messageOf(this.#experiment, job), {
      jobId: this.nameOf(job),
      attempts: ATTEMPTS,
      backoff: { type: 'exponential', delay: BACKOFF },
      removeOnComplete: { age: REMEMBERED },
      removeOnFail: { age: REMEMBERED },
    });
  }

  stateOf(job: SweepJob): Promise<string> {
    return this.#queue.getJobState(this.nameOf(job));
  }

  find(job: SweepJob): Promise<Job | undefined> {
    return this.#queue.getJob(this.nameOf(job)) as Promise<Job | undefined>;
  }
}

/** Waits for all jobs and says what becomes of them. @returns how many failed @throws Interrupted if the signal is aborted */
async function untilDone(
  submitted: Submitted,
  { table, note, signal }: { table: LiveTable; note: (words: string) => void; signal: AbortSignal },
): Promise<number> {
  const [open, begun] = [new Map(submitted.jobs.entries()), new Set<number>()];
  let failed = 0;
  let took = 0;
  while (open.size > 0) {
    // A long sweep must not keep Redis busy with questions.
    await wait(Math.max(500, 5 * took), undefined, { signal });
    const began = performance.now();
    for (const [at, job] of open) {
      const state = await submitted.stateOf(job);
      const now = await submitted.find(job);
      if (now === undefined) {
        await submitted.add(job);
        continue;
      }
      // Why a worker could not do it.
      if (typeof now.progress === 'string') note(now.progress);
      if (state === 'active' && !begun.has(at)) {
        begun.add(at);
        table.begin(at);
      }
      if (state !== 'completed' && state !== 'failed') continue;
      open.delete(at);
      if (state === 'failed') failed++;
      table.end(at, state === 'failed' ? 'failed' : 'finished', String(state === 'failed' ? now.failedReason : now.returnvalue));
    }
    took = performance.now() - began;
  }
  return failed;
}
