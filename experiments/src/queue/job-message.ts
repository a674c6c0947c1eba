import { shown } from '@atelier/tensor';
import { z } from 'zod';
import { codeVersion } from '../runner/code-version.ts';
import { configHash, parseConfig, resolveConfig } from '../runner/config.ts';
import { StopError } from '../runner/errors.ts';
import type { Experiment } from '../runner/experiment.ts';
import type { SweepJob } from '../sweep/sweep-plan.ts';

const VERSION = 1;

const messageSchema = z.strictObject({
  version: z.literal(VERSION),
  experiment: z.string().max(100),
  preset: z.string().max(100),
  words: z.array(z.string().max(10_000)).max(1000),
  configHash: z.string().regex(/^[0-9a-f]{64}$/, 'wanted 64 hexadecimal digits'),
  /** Hash of the code that the sender has. */
  code: z.string().regex(/^[0-9a-f]{16}$/, 'wanted 16 hexadecimal digits'),
});
export type JobMessage = z.infer<typeof messageSchema>;

/** The job is for a worker with other code. */
export class OtherCode extends StopError {}

/** What a queue carries for one run of a sweep. */
export function messageOf(experiment: Experiment, { preset, words, configHash: hash }: SweepJob): JobMessage {
  return { version: VERSION, experiment: experiment.name, preset, words: [...words], configHash: hash, code: codeVersion(experiment) };
}

/** The name of a job: the same configuration and the same code are the same job, so it is in a queue only once. */
export const jobName = ({ configHash: hash, code }: Pick<JobMessage, 'configHash' | 'code'>): string => `${hash}-${code}`;

/**
 * Checks a job that came from outside: its version and form, its name, that the code here is the sender's, and that the configuration is the one that its hash
 * stands for.
 *
 * @throws OtherCode if a worker with other code could carry it out; StopError if none can
 */
export function readMessage(
  experiments: readonly Experiment[],
  name: string | undefined,
  plain: unknown,
): { message: JobMessage; experiment: Experiment } {
  const version = (plain as { version?: unknown } | null)?.version;
  if (version !== VERSION)
    throw new StopError(`queue: wanted a job of version ${VERSION}, got version ${version === undefined ? 'none' : shown(version)}`);
  const message = parseConfig('queue: job', messageSchema, plain);
  if (name !== jobName(message)) throw new StopError(`queue: wanted the job ${jobName(message)}, got ${shown(name)}`);
  const experiment = experiments.find((one) => one.name === message.experiment);
  const code = experiment && codeVersion(experiment);
  if (experiment === undefined || code !== message.code)
    throw new OtherCode(
      `queue: wanted a worker with the code ${message.code} of ${shown(message.experiment)}, got one with ${code ?? 'no such experiment'}`,
    );
  const hash = configHash(resolveConfig(experiment, message.preset, message.words));
  if (hash !== message.configHash)
    throw new StopError(
      `queue: wanted the configuration ${message.configHash.slice(0, 12)}, got ${hash.slice(0, 12)} from the words of the job`,
    );
  return { message, experiment };
}
