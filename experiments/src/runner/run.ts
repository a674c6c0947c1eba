import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { useEngine, type EngineOptions } from '@atelier/tensor';
import { checkClaims } from './claims.ts';
import { codeVersion } from './code-version.ts';
import { configHash, experimentConfig, resolveConfig } from './config.ts';
import { Interrupted, sentence, StopError } from './errors.ts';
import type { Experiment } from './experiment.ts';
import { checkDisk, checkMemory } from './limits.ts';
import { commitName, freeDisk, machineName, versions } from './machine.ts';
import { unknown } from '@atelier/tensor';
import { writeReport } from './report-html.ts';
import { FolderContext, readClaims, type Audience } from './run-context.ts';
import { RunFolder, type RunRecord } from './run-folder.ts';
import { isEmpty } from './run-list.ts';
import { typedCommand } from './typed-command.ts';

export interface RunRequest {
  readonly experiment: string;
  readonly preset: string;
  /** `key=value`, applied to the preset in this order. */
  readonly words: readonly string[];
  /** The folder that holds the run folders. */
  readonly runs: string;
  readonly engine: { readonly name?: string; readonly device?: string; readonly threads?: number };
}

/** Starts a run and carries it out to its end. Nothing is written before the request has been checked. @throws StopError | Interrupted */
export async function startRun(experiments: readonly Experiment[], request: RunRequest, audience: Audience): Promise<RunFolder> {
  const experiment = findExperiment(experiments, request.experiment);
  checkClaims(experiment);
  const config = resolveConfig(experiment, request.preset, request.words);
  checkMemory(experiment.name, config, process.availableMemory());
  checkDisk(experiment.name, config, freeDisk(request.runs));
  const { device, threads } = request.engine;
  const options = { ...(device === undefined ? {} : { device }), ...(threads === undefined ? {} : { threads }) };
  const name = await startEngine(request.engine.name, options);
  const folder = await RunFolder.create(request.runs, {
    experiment: experiment.name,
    preset: request.preset,
    words: [...request.words],
    config: config as unknown as RunRecord['config'],
    configHash: configHash(config),
    seed: config.seed,
    engine: { name, ...options },
    commit: commitName(),
    machine: machineName(),
    versions: { ...versions(), code: codeVersion(experiment) },
    status: 'running',
    started: new Date().toISOString(),
    resumed: 0,
  });
  audience.note(`${experiment.name} ${request.preset}: ${experiment.title}`);
  audience.note(`run ${folder.record.id}, engine ${name}, seed ${config.seed}`);
  await seeThrough(experiment, folder, audience);
  return folder;
}

/** Continues a run that was killed, stopped or failed. A finished run is not changed. @throws StopError | Interrupted */
export async function resumeRun(experiments: readonly Experiment[], runs: string, name: string, audience: Audience): Promise<RunFolder> {
  const folder = RunFolder.open(runs, name);
  const { record } = folder;
  const experiment = findExperiment(experiments, record.experiment);
  checkClaims(experiment);
  if (record.status === 'finished') {
    audience.note(`run ${record.id} is finished; nothing is left to do`);
    return folder;
  }
  // If a key was added or removed since then, the code no longer fits the run.
  const config = experimentConfig(join(folder.path, 'run.json'), experiment, record.config);
  if (configHash(config) !== record.configHash)
    throw new StopError(`${record.id}: the configuration of ${experiment.name} has changed since; start a new run`);
  folder.lock();
  try {
    const commit = commitName();
    if (commit !== record.commit) audience.note(`the code was at ${record.commit} and is at ${commit} now: equal bits are not promised`);
    const { name: engine, ...options } = record.engine;
    await startEngine(engine, options);
    folder.sweep();
    audience.note(`run ${record.id} goes on, engine ${engine}, seed ${record.seed}`);
    await folder.update({ status: 'running', resumed: record.resumed + 1, reason: undefined, ended: undefined });
    await seeThrough(experiment, folder, audience);
  } finally {
    folder.unlock();
  }
  return folder;
}

/** @throws StopError that names the nearest one. */
export function findExperiment(experiments: readonly Experiment[], name: string): Experiment {
  const found = experiments.find((experiment) => experiment.name === name);
  if (found !== undefined) return found;
  throw new StopError(
    unknown(
      'experiment',
      name,
      experiments.map((experiment) => experiment.name),
    ),
  );
}

async function startEngine(name: string | undefined, options: { device?: string; threads?: number }): Promise<string> {
  try {
    return await useEngine(name, options as EngineOptions);
  } catch (error) {
    throw new StopError(sentence(error), { cause: error });
  }
}

async function seeThrough(experiment: Experiment, folder: RunFolder, audience: Audience): Promise<void> {
  folder.lock();
  try {
    const context = await FolderContext.open(experiment, folder, audience);
    await experiment.run(context);
    noteUnmeasured(experiment, folder, audience);
    await folder.update({ status: 'finished', ended: new Date().toISOString() });
  } catch (error) {
    const stopped = error instanceof Interrupted || audience.signal.aborted;
    // A run that failed before it had any result leaves no folder behind.
    if (!stopped && folder.record.resumed === 0 && isEmpty(folder.path)) {
      rmSync(folder.path, { recursive: true, force: true });
      throw error;
    }
    // If the disk failed, run.json cannot be written and stays as it was. The first error is reported.
    await folder
      .update({ status: stopped ? 'interrupted' : 'failed', reason: sentence(error), ended: new Date().toISOString() })
      .then(() => writeReport(experiment, folder.path))
      .catch(() => undefined);
    if (stopped) {
      const place = error instanceof Interrupted ? error.message : 'stopped between two stages; what was finished is kept';
      const command = typedCommand(['resume', folder.record.id], dirname(folder.path));
      throw new Interrupted(`${place}; go on with: ${command}`, { cause: error });
    }
    throw error;
  } finally {
    audience.progress.stop();
    folder.unlock();
  }
  await writeReport(experiment, folder.path);
}

/** A run of a preset must measure all claims that name the preset. A changed configuration may leave some out. */
function noteUnmeasured(experiment: Experiment, folder: RunFolder, audience: Audience): void {
  const measured = new Set(readClaims(folder.path).map((row) => row.id));
  const missing = experiment.claims
    .filter((claim) => claim.presets.includes(folder.record.preset) && !measured.has(claim.id))
    .map((claim) => claim.id);
  if (missing.length === 0) return;
  if (folder.record.words.length === 0)
    throw new StopError(`${experiment.name}: the preset '${folder.record.preset}' ended without measuring ${missing.join(', ')}`);
  audience.note(`not measured with these keys: ${missing.join(', ')}`);
}
