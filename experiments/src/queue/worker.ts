import { hostname } from 'node:os';
import { checkNumber, plainText } from '@atelier/tensor';
import type { Job } from 'bullmq';
import { sentence } from '../runner/errors.ts';
import type { Experiment } from '../runner/experiment.ts';
import { carryOut, Later, RunFailed, Stopped, type JobRequest, type JobStage } from './carry-out.ts';
import { checkRedis, Connection, placeText, QUEUE, type RedisPlace } from './connection.ts';
import { OtherCode, readMessage } from './job-message.ts';

export interface WorkerRequest extends JobRequest {
  readonly redis: RedisPlace;
  /** Runs side by side. */
  readonly concurrency: number;
  /** Seconds without a sign of life after which a worker has lost its jobs; also the pause before a job that cannot be done now is offered again. */
  readonly lockSeconds: number;
}

/**
 * Carries out the runs of a queue until it is stopped. Each run is a process of its own, so that the worker can tell Redis meanwhile that it lives. A worker that dies loses its jobs to
 * others, which go on from the last checkpoint. At a stop, its runs write a checkpoint and their jobs go back into the queue.
 *
 * @throws StopError if Redis cannot be reached at the start; later it waits until Redis is back
 */
export async function runWorker(experiments: readonly Experiment[], request: WorkerRequest, stage: JobStage): Promise<void> {
  const { redis, concurrency, threads, lockSeconds } = request;
  const { signal, say } = stage;
  checkNumber('worker: concurrency', concurrency, { integer: true, min: 1, max: 256 });
  checkNumber('worker: lock-seconds', lockSeconds, { min: 1, max: 3600 });
  await checkRedis(redis);
  const { DelayedError, UnrecoverableError, WaitingError, Worker } = await import('bullmq');

  /** What becomes of a job that is not done now follows from the kind of error. */
  const perform = async (job: Job<unknown, string>, token?: string): Promise<string> => {
    try {
      const { message, experiment } = readMessage(experiments, job.id, job.data);
      return await carryOut(message, experiment, request, stage);
    } catch (error) {
      if (error instanceof Stopped) {
        await job.moveToWait(token);
        throw new WaitingError();
      }
      if (error instanceof Later || error instanceof OtherCode) {
        // The sweep that waits for the job can say why.
        await job.updateProgress(`${hostname()}: ${error.message}`);
        await job.moveToDelayed(Date.now() + 1000 * lockSeconds, token);
        throw new DelayedError();
      }
      // A run that failed is tried again; a job that nobody can read is not.
      throw error instanceof RunFailed ? error : new UnrecoverableError(sentence(error));
    }
  };
  const connection = new Connection(redis, signal);
  const worker = new Worker<unknown, string>(QUEUE, perform, {
    connection: connection.options,
    concurrency,
    lockDuration: 1000 * lockSeconds,
    stalledInterval: 500 * lockSeconds,
    // The pause before a command that failed because Redis was away.
    runRetryDelay: 1000,
    // A worker may be killed often; the run goes on from its checkpoint each time.
    maxStalledCount: 1000,
  });
  const told = new Set<string>();
  worker.on('error', (error) => {
    const text = plainText(sentence(error));
    const [, job] = /\block\b.* job ([0-9a-f]{12})/i.exec(text) ?? [];
    const words =
      job === undefined
        ? `queue at ${placeText(redis)}: ${text}`
        : `job ${job} may be offered to another worker: this one gave Redis no sign of life for ${lockSeconds} s; nothing is lost`;
    if (!told.has(words)) say(words);
    told.add(words);
  });
  worker.on('failed', (job, error) => say(`job ${plainText(String(job?.id).slice(0, 12))} failed: ${plainText(sentence(error))}`));
  say(
    `worker of the queue at ${placeText(redis)}: ${concurrency} side by side with ${threads} ${threads === 1 ? 'thread' : 'threads'} each`,
  );
  await new Promise<void>((done) => (signal.aborted ? done() : signal.addEventListener('abort', () => done())));
  await connection.settled();
  await worker.close();
}
