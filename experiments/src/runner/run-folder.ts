import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { z } from 'zod';
import { configHash } from './config.ts';
import { diskError, onDisk, StopError } from './errors.ts';
import { FileLock } from './file-lock.ts';
import { readJson } from './read-json.ts';
import { shown, unknown } from '@atelier/tensor';
import { writeFile } from './write-file.ts';

/** `run.json`: what a run is, its status, and everything needed to repeat it. */
export const runRecordSchema = z.strictObject({
  /** Also the name of its folder: no path that leads elsewhere. */
  id: z.string().regex(/^\w[\w.-]*$/, 'wanted letters, digits, dashes and dots'),
  experiment: z.string(),
  preset: z.string(),
  /** The `key=value` words laid over the preset. */
  words: z.array(z.string()),
  config: z.record(z.string(), z.json()),
  configHash: z.string(),
  seed: z.number(),
  engine: z.strictObject({ name: z.string(), device: z.string().optional(), threads: z.number().optional() }),
  commit: z.string(),
  machine: z.string(),
  versions: z.record(z.string(), z.string()),
  status: z.enum(['running', 'finished', 'interrupted', 'failed']),
  /** Why it failed, in one sentence. */
  reason: z.string().optional(),
  started: z.iso.datetime(),
  ended: z.iso.datetime().optional(),
  /** How often it was resumed. */
  resumed: z.number().int().min(0),
});
export type RunRecord = z.infer<typeof runRecordSchema>;

/** A folder below `runs/`: run.json, metrics.jsonl, claims.json, samples/, figures/, checkpoints/, report.html. */
export class RunFolder {
  readonly path: string;
  #record: RunRecord;
  readonly #lock: FileLock;

  private constructor(path: string, record: RunRecord) {
    this.path = path;
    this.#record = record;
    this.#lock = new FileLock(join(path, 'lock'));
  }

  get record(): RunRecord {
    return this.#record;
  }

  /** Makes a new folder `<experiment>-<preset>-<time>`. If that fails, nothing is left behind. */
  static async create(runs: string, record: Omit<RunRecord, 'id'>): Promise<RunFolder> {
    onDisk(runs, () => mkdirSync(runs, { recursive: true }));
    const stem = `${record.experiment}-${record.preset}-${record.started.slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}`;
    const id = newFolder(runs, stem);
    const path = join(runs, id);
    try {
      const folder = new RunFolder(path, { id, ...record });
      await folder.update({});
      return folder;
    } catch (error) {
      rmSync(path, { recursive: true, force: true });
      throw error;
    }
  }

  /** The run called `name` (an id, the only id that begins so, or a path). @throws StopError if there is none or its run.json is damaged. */
  static open(runs: string, name: string): RunFolder {
    const asPath = resolve(name);
    if (/[\\/]/.test(name) && existsSync(join(asPath, 'run.json'))) return RunFolder.at(asPath);
    const ids = runIds(runs);
    const wanted = basename(name);
    const found = ids.includes(wanted) ? [wanted] : ids.filter((id) => wanted !== '' && id.startsWith(wanted));
    if (found.length === 0) {
      for (const folder of [asPath, join(runs, wanted)])
        if (wanted !== '' && existsSync(folder))
          throw new StopError(
            `${folder}: wanted a run.json in the folder of a run, got none; without it the run cannot go on, so start it again`,
          );
      throw new StopError(unknown(`run in ${runs}`, name, ids));
    }
    if (found.length > 1) throw new StopError(`${shown(name)} fits ${found.length} runs: ${found.slice(0, 5).join(', ')}; say which one`);
    return RunFolder.at(join(runs, found[0]!));
  }

  /** The run in exactly this folder. @throws StopError if its run.json is missing or damaged. */
  static at(path: string): RunFolder {
    return new RunFolder(path, readRecord(path));
  }

  async update(change: Partial<RunRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change };
    await writeFile(join(this.path, 'run.json'), `${JSON.stringify(this.#record, null, 2)}\n`);
  }

  /** Makes this process the only one that writes here. @throws StopError if another running process does. */
  lock(): void {
    const holder = this.#lock.take();
    if (holder !== undefined) throw new StopError(`${this.record.id}: is being run by ${holder}; wait for it or stop it first`);
  }

  /** Whether a process runs it now. */
  get isRunning(): boolean {
    return this.#lock.isHeld;
  }

  unlock(): void {
    this.#lock.release();
  }

  /** Removes temporary files of writes that were killed. */
  sweep(): void {
    for (const entry of readdirSync(this.path, { recursive: true, encoding: 'utf8' })) {
      if (entry.endsWith('.tmp')) rmSync(join(this.path, entry), { force: true });
    }
  }
}

/** Makes the folder `stem`, or `stem-2`, … Two processes that begin within the same second get two folders. */
function newFolder(runs: string, stem: string): string {
  for (let n = 1; ; n++) {
    const id = n === 1 ? stem : `${stem}-${n}`;
    if (existsSync(join(runs, id))) continue;
    try {
      mkdirSync(join(runs, id));
      return id;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw diskError(join(runs, id), error);
    }
  }
}

/** The ids of the runs in a folder, oldest first. */
export function runIds(runs: string): string[] {
  if (!existsSync(runs)) return [];
  const ids = onDisk(runs, () => readdirSync(runs)).filter((id) => existsSync(join(runs, id, 'run.json')));
  const age = new Map(ids.map((id) => [id, statSync(join(runs, id)).birthtimeMs]));
  return ids.sort((a, b) => stamp(a).localeCompare(stamp(b)) || age.get(a)! - age.get(b)!);
}

function readRecord(path: string): RunRecord {
  const file = join(path, 'run.json');
  const record = readJson(file, runRecordSchema);
  const hash = configHash(record.config);
  if (hash !== record.configHash)
    throw new StopError(`${file}: 'config' was changed: wanted hash ${record.configHash.slice(0, 12)}, got ${hash.slice(0, 12)}`);
  return record;
}

/** The time in an id, to sort by. */
const stamp = (id: string): string => /\d{8}-\d{6}(-\d+)?$/.exec(id)?.[0] ?? id;
