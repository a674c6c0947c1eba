import { appendFileSync, closeSync, existsSync, fsyncSync, openSync, readFileSync, statSync } from 'node:fs';
import { parseJson, shown } from '@atelier/tensor';
import { onDisk, onText, StopError } from './errors.ts';
import { writeFile } from './write-file.ts';

/** A line of `metrics.jsonl`: the series and the step, then the numbers. */
export type MetricsLine = { readonly series: string; readonly step: number } & { readonly [metric: string]: number | string };

/** `metrics.jsonl`. Lines are only appended, except by `rewind`. They are synced to the disk by `sync`, which every checkpoint calls before it is written. */
export class MetricsFile {
  readonly path: string;
  #lines: MetricsLine[];
  /** Keys of the lines that were there when the file was opened. If a resumed run writes one of them again, nothing is written. */
  #replayed = new Set<string>();

  private constructor(path: string, lines: MetricsLine[]) {
    this.path = path;
    this.#lines = lines;
    for (const line of lines) this.#replayed.add(identity(line));
  }

  /** Opens or begins the file; a last line that was cut by a kill is dropped. @throws StopError if another line is damaged. */
  static async open(path: string): Promise<MetricsFile> {
    const file = new MetricsFile(path, existsSync(path) ? readMetrics(path) : []);
    await file.#rewrite();
    return file;
  }

  get lines(): readonly MetricsLine[] {
    return this.#lines;
  }

  append(series: string, step: number, metrics: Readonly<Record<string, number>>): void {
    for (const [name, value] of Object.entries(metrics)) {
      if (!Number.isFinite(value)) throw new StopError(`log: wanted finite numbers, got ${name} = ${value} at step ${step} of '${series}'`);
      if (name === 'series' || name === 'step') throw new StopError(`log: '${name}' is taken; give the metric another name`);
    }
    const line: MetricsLine = { series, step, ...metrics };
    if (this.#replayed.delete(identity(line))) return;
    onDisk(this.path, () => appendFileSync(this.path, `${JSON.stringify(line)}\n`));
    this.#lines.push(line);
  }

  /** Forgets the lines of `series` whose step is above `step`. */
  async rewind(series: string, step: number): Promise<void> {
    const gone = (line: MetricsLine): boolean => line.series === series && line.step > step;
    for (const line of this.#lines) if (gone(line)) this.#replayed.delete(identity(line));
    const kept = this.#lines.filter((line) => !gone(line));
    if (kept.length === this.#lines.length) return;
    this.#lines = kept;
    await this.#rewrite();
  }

  sync(): void {
    onDisk(this.path, () => {
      const file = openSync(this.path, 'r+');
      try {
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
    });
  }

  async #rewrite(): Promise<void> {
    await writeFile(this.path, this.#lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  }
}

/** The whole lines of a `metrics.jsonl`; a last line without its end is left out. @throws StopError for a line that is not such a record. */
export function readMetrics(path: string): MetricsLine[] {
  // Reading from a device or a pipe might never end.
  if (!onDisk(path, () => statSync(path)).isFile()) throw new StopError(`${path}: wanted a file, got something else`);
  const texts = onDisk(path, () => readFileSync(path, 'utf8')).split('\n');
  texts.pop();
  return texts.map((text, i) => {
    const line = onText(() => parseJson(text, `${path}: line ${i + 1}`));
    const { series, ...numbers } = (line ?? {}) as Partial<MetricsLine>;
    if (typeof series !== 'string' || !('step' in numbers) || !Object.values(numbers).every(Number.isFinite))
      throw new StopError(`${path}: line ${i + 1}: wanted a record with series, step and numbers, got ${shown(line)}`);
    return line as MetricsLine;
  });
}

const identity = (line: MetricsLine): string => `${line.series}\n${line.step}\n${Object.keys(line).sort().join()}`;
