import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { StopError } from '../runner/errors.ts';
import type { Experiment } from '../runner/experiment.ts';
import { RunFolder } from '../runner/run-folder.ts';
import { adoptRun } from '../sweep/adopt-run.ts';
import type { Bucket } from './bucket.ts';

/** Seconds between two copies of a run that goes on, and until its first checkpoint is looked for again. */
const [EVERY, FIRST] = [15, 1];

/** The file of a copy that is written last. */
const LAST = 'run.json';

/**
 * A copy of a run folder in the storage, `<job>/<number>-<random>/<file>`. Every delivery of a job writes a copy of its own, so two workers that carry out the same job never mix their files.
 * In a copy, a checkpoint is never newer than the metrics that it needs: checkpoints are read first and written last, before run.json.
 */
export class RunCopy {
  readonly #bucket: Bucket;
  readonly #place: string;
  readonly #runs: string;
  /** Size and time of the files that are already there. */
  readonly #copied = new Map<string, string>();

  private constructor(bucket: Bucket, place: string, runs: string) {
    [this.#bucket, this.#place, this.#runs] = [bucket, place, runs];
  }

  /** A new copy, later than all that are there, of a run in the folder `runs`. */
  static async begin(bucket: Bucket, job: string, runs: string): Promise<RunCopy> {
    const before = copiesIn(await bucket.list(`${job}/`)).map(({ place }) => Number(/(\d+)-\w+$/.exec(place)?.[1] ?? 0));
    const number = String(1 + Math.max(0, ...before)).padStart(6, '0');
    return new RunCopy(bucket, `${job}/${number}-${randomBytes(4).toString('hex')}`, runs);
  }

  /** Writes what has changed since the last time. */
  async put(run: string): Promise<void> {
    const folder = join(this.#runs, run);
    const files = filesIn(folder).filter(({ file, mark }) => this.#copied.get(file) !== mark);
    const order = (file: string): number => (file === LAST ? 2 : isCheckpoint(file) ? 1 : 0);
    // A checkpoint is one file that is replaced at once, so what is read here is whole.
    const checkpoints = new Map(files.filter(({ file }) => isCheckpoint(file)).map(({ file }) => [file, readFileSync(join(folder, file))]));
    for (const { file, mark } of files.sort((a, b) => order(a.file) - order(b.file) || a.mark.localeCompare(b.mark))) {
      await this.#bucket.put(`${this.#place}/${file.split(sep).join('/')}`, checkpoints.get(file) ?? readFileSync(join(folder, file)));
      this.#copied.set(file, mark);
    }
  }

  /**
   * Writes again and again what a run has written, from its first checkpoint on, until the signal is aborted. Storage that is away is tried again.
   *
   * @param run its id, once it has one
   */
  async keepPutting(run: () => string | undefined, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const id = run();
      const begun = id !== undefined && filesIn(join(this.#runs, id)).some(({ file }) => isCheckpoint(file));
      // The last copy, after the end of the run, reports what is wrong.
      if (begun) await this.put(id).catch(() => undefined);
      await wait(1000 * (begun ? EVERY : FIRST), undefined, { signal }).catch(() => undefined);
    }
  }
}

/**
 * Brings the run of a job from the storage into a folder of runs: a finished copy if there is one, else the latest. A part of the same run that is there already gives way.
 *
 * @throws StopError if the storage refuses, or if what it gives is no run folder
 */
export async function fetchRun(bucket: Bucket, job: string, experiments: readonly Experiment[], runs: string): Promise<void> {
  const best = await bestCopy(bucket, job);
  if (best === undefined) return;
  mkdirSync(runs, { recursive: true });
  const folder = mkdtempSync(join(runs, '.fetched-'));
  try {
    for (const key of best.keys) {
      const path = resolve(folder, key);
      // A key such as `../x` must not leave the folder.
      if (relative(folder, path).startsWith('..')) throw new StopError(`--store: wanted files of a run, got '${key}'`);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, await bucket.get(`${best.place}/${key}`));
    }
    const { id, configHash } = RunFolder.at(folder).record;
    const own = join(runs, id);
    if (existsSync(join(own, LAST)) && RunFolder.at(own).record.configHash === configHash) rmSync(own, { recursive: true });
    await adoptRun(experiments, folder, runs);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Whether the storage has the finished run of a job. */
export const isStored = async (bucket: Bucket, job: string): Promise<boolean> => (await bestCopy(bucket, job))?.isFinished === true;

/** A finished copy if there is one, else the latest. */
async function bestCopy(bucket: Bucket, job: string): Promise<(Copy & { isFinished: boolean }) | undefined> {
  const copies = copiesIn(await bucket.list(`${job}/`)).filter(({ keys }) => keys.includes(LAST));
  const states = await Promise.all(
    copies.map(async (copy) => ({ ...copy, isFinished: isFinished(await bucket.get(`${copy.place}/${LAST}`)) })),
  );
  return states.find((copy) => copy.isFinished) ?? states.at(-1);
}

type Copy = { readonly place: string; readonly keys: readonly string[] };

/** The copies that keys `<job>/<copy>/<file>` belong to, oldest first. */
function copiesIn(keys: readonly string[]): Copy[] {
  const found = new Map<string, string[]>();
  for (const key of keys) {
    const [, place, file] = /^([^/]+\/[^/]+)\/(.+)$/.exec(key) ?? [];
    if (place !== undefined) found.set(place, [...(found.get(place) ?? []), file!]);
  }
  return [...found].map(([place, files]) => ({ place, keys: files })).sort((a, b) => a.place.localeCompare(b.place));
}

function isFinished(record: Uint8Array): boolean {
  try {
    return (JSON.parse(new TextDecoder().decode(record)) as { status?: unknown }).status === 'finished';
  } catch {
    return false;
  }
}

/** The files of a run folder with a mark that tells whether a file has changed, and by which they can be sorted by time. */
const filesIn = (folder: string): { file: string; mark: string }[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).flatMap((file) => {
    const stat = file.endsWith('.tmp') || file === 'lock' ? undefined : statSync(join(folder, file), { throwIfNoEntry: false });
    return stat?.isFile() ? [{ file, mark: `${stat.mtimeMs.toFixed(3).padStart(20, '0')} ${stat.size}` }] : [];
  });

const isCheckpoint = (file: string): boolean => file.startsWith(`checkpoints${sep}`);
