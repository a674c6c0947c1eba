import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Rng } from '@atelier/tensor';
import { z } from 'zod';
import { CheckpointFolder } from './checkpoint.ts';
import { claimRecordSchema, howText, judge, type ClaimRecord } from './claims.ts';
import { StopError } from './errors.ts';
import { readJson } from './read-json.ts';
import type { BaseConfig, Checkpoints, ClaimDefinition, Experiment, Json, Picture, Progress, RunContext } from './experiment.ts';
import { MetricsFile, type MetricsLine } from './metrics-file.ts';
import type { RunFolder } from './run-folder.ts';
import { writeFile } from './write-file.ts';

/** The outputs of a run: progress, notes and the interrupt signal. */
export interface Audience {
  readonly signal: AbortSignal;
  readonly progress: Progress;
  note(text: string): void;
}

/** `RunContext` over a run folder. */
export class FolderContext implements RunContext {
  readonly checkpoints: Checkpoints;
  readonly rng: Rng;
  readonly #experiment: Experiment;
  readonly #folder: RunFolder;
  readonly #metrics: MetricsFile;
  readonly #audience: Audience;
  readonly #stages = new Set<string>();

  private constructor(experiment: Experiment, folder: RunFolder, metrics: MetricsFile, audience: Audience) {
    this.#experiment = experiment;
    this.#folder = folder;
    this.#metrics = metrics;
    this.#audience = audience;
    this.rng = new Rng(folder.record.seed);
    this.checkpoints = new CheckpointFolder(join(folder.path, 'checkpoints'), () => metrics.sync());
  }

  static async open(experiment: Experiment, folder: RunFolder, audience: Audience): Promise<FolderContext> {
    return new FolderContext(experiment, folder, await MetricsFile.open(join(folder.path, 'metrics.jsonl')), audience);
  }

  get config(): BaseConfig {
    return this.#folder.record.config as unknown as BaseConfig;
  }

  get preset(): string {
    return this.#folder.record.preset;
  }

  get folder(): string {
    return this.#folder.path;
  }

  get signal(): AbortSignal {
    return this.#audience.signal;
  }

  get progress(): Progress {
    return this.#audience.progress;
  }

  log(metrics: Readonly<Record<string, number>>, step: number, series = 'run'): void {
    this.#metrics.append(series, step, metrics);
  }

  lines(series: string): MetricsLine[] {
    return this.#metrics.lines.filter((line) => line.series === series);
  }

  async rewind(series: string, step: number): Promise<void> {
    await this.#metrics.rewind(series, step);
  }

  async samples(name: string, step: number, picture: Picture): Promise<void> {
    checkName('samples', name);
    if (!Number.isSafeInteger(step) || step < 0) throw new StopError(`samples '${name}': step: wanted a whole number >= 0, got ${step}`);
    await writeFile(join(this.folder, 'samples', `${name}-step-${String(step).padStart(6, '0')}.png`), picture.png);
  }

  async figure(name: string, picture: Picture, caption = ''): Promise<void> {
    checkName('figure', name);
    await writeFile(join(this.folder, 'figures', `${name}.png`), picture.png);
    if (picture.svg !== undefined) await writeFile(join(this.folder, 'figures', `${name}.svg`), picture.svg);
    const captions = { ...readCaptions(this.folder), [name]: caption };
    await writeFile(join(this.folder, 'figures', 'captions.json'), `${JSON.stringify(captions, null, 2)}\n`);
  }

  measures(id: string): boolean {
    return this.#definition(id).presets.includes(this.preset);
  }

  #definition(id: string): ClaimDefinition {
    const definition = this.#experiment.claims.find((claim) => claim.id === id);
    if (definition !== undefined) return definition;
    const known = this.#experiment.claims.map((claim) => claim.id).join(', ');
    throw new StopError(`claim '${id}': ${this.#experiment.name} defines ${known || 'no claim'}`);
  }

  async claim(id: string, measured: number, detail?: string): Promise<void> {
    const definition = this.#definition(id);
    // The verdict is computed in every preset, so that a claim out of reach or a number that is not finite is always reported.
    const verdict = judge(definition, measured);
    if (!this.measures(id)) return;
    const { record } = this.#folder;
    const { claim, where, published, bound } = definition;
    const row: ClaimRecord = {
      paper: this.#experiment.paper.slug,
      experiment: this.#experiment.name,
      id,
      claim,
      where,
      published,
      how: howText(definition, this.config),
      bound,
      measured,
      ...(detail === undefined ? {} : { detail }),
      verdict,
      run: record.id,
      preset: record.preset,
      changed: record.words.some((word) => !word.startsWith('seed=')),
      seed: record.seed,
      configHash: record.configHash,
      engine: record.engine.name,
      commit: record.commit,
      machine: record.machine,
      date: new Date().toISOString(),
    };
    const rows = [...readClaims(this.folder).filter((other) => other.id !== id), row];
    await writeFile(join(this.folder, 'claims.json'), `${JSON.stringify(rows, null, 2)}\n`);
  }

  async stage<T extends Json>(name: string, work: () => Promise<T> | T): Promise<T> {
    if (this.#stages.has(name)) throw new StopError(`stage '${name}': the name is used twice in a run`);
    this.#stages.add(name);
    const file = `stage-${name}`;
    const before = await this.checkpoints.load(file);
    if (before !== null) return before.state as T;
    this.signal.throwIfAborted();
    const result = await work();
    await this.checkpoints.save(file, {}, result);
    return result;
  }

  note(text: string): void {
    this.#audience.note(text);
  }
}

/** The claims of a run folder, in the order in which they were measured. @throws StopError if the file is damaged. */
export function readClaims(folder: string): ClaimRecord[] {
  const path = join(folder, 'claims.json');
  return existsSync(path) ? readJson(path, z.array(claimRecordSchema)) : [];
}

/** Captions of the figures of a run folder by name, in the order in which they were first drawn. */
export function readCaptions(folder: string): Record<string, string> {
  const path = join(folder, 'figures', 'captions.json');
  return existsSync(path) ? readJson(path, z.record(z.string().regex(NAME), z.string())) : {};
}

/** Names of pictures: parts of paths. */
const NAME = /^[a-z0-9]+([-.][a-z0-9]+)*$/i;

function checkName(what: string, name: string): void {
  if (!NAME.test(name)) throw new StopError(`${what}: wanted a name of letters, digits, '-' and '.', got '${name}'`);
}
