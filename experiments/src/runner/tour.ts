import { relative } from 'node:path';
import { plainText } from '@atelier/tensor';
import { StopError } from './errors.ts';
import type { Experiment, Progress } from './experiment.ts';
import { CLEAR, timeText, type Screen } from './progress.ts';
import { readClaims, type Audience } from './run-context.ts';
import type { RunFolder } from './run-folder.ts';
import { startRun, type RunRequest } from './run.ts';
import { summaryLines, writeTour, type TourStop } from './tour-page.ts';

/**
 * `atelier tour`: runs a short preset of every paper, one line of progress each, and writes one page with a picture and the claims of each. Ctrl-C stops the
 * run that goes on, which can be resumed by itself.
 *
 * @returns the lines to say at the end: a table, and where the page is
 * @throws StopError | Interrupted, as a run does
 */
export async function runTour(
  experiments: readonly Experiment[],
  { runs, engine }: Pick<RunRequest, 'runs' | 'engine'>,
  { signal, screen, note }: Pick<Audience, 'signal' | 'note'> & { screen: Screen },
): Promise<string[]> {
  const places = experiments.filter((experiment) => experiment.tour !== undefined);
  if (places.length === 0) throw new StopError('tour: wanted an experiment with a preset for it, got none');
  const width = Math.max(...places.map(({ name }) => name.length));
  const began = Date.now();
  const stops: TourStop[] = [];
  for (const [i, experiment] of places.entries()) {
    const { preset, shows } = experiment.tour!;
    const head = `${i + 1}/${places.length} ${experiment.name.padEnd(width)}`;
    const progress = new TourProgress(screen, head);
    const from = Date.now();
    if (!progress.redraws) note(`${head}  ${shows} …`);
    let folder: RunFolder;
    try {
      folder = await startRun(
        experiments,
        { experiment: experiment.name, preset, words: [], runs, engine },
        { signal, progress, note: () => {} },
      );
    } finally {
      progress.close();
    }
    const seconds = (Date.now() - from) / 1000;
    const claims = readClaims(folder.path);
    stops.push({ experiment, folder, claims, seconds });
    const held = claims.filter(({ verdict }) => verdict === 'reproduced').length;
    note(`${head}  ${shows}: ${held} of ${claims.length} claims reproduced, ${timeText(seconds)}`);
  }
  const path = await writeTour(stops, runs);
  return [
    '',
    ...summaryLines(stops),
    '',
    `${timeText((Date.now() - began) / 1000)} in all; pictures and claims: ${relative(process.cwd(), path) || path}`,
  ];
}

/** On a terminal one line that redraws itself with the stage of the run and its share; elsewhere nothing. */
class TourProgress implements Progress {
  readonly redraws: boolean;
  readonly #screen: Screen;
  readonly #head: string;
  #label = '';
  #total = 1;
  #drawnAt = 0;

  constructor(screen: Screen, head: string) {
    this.redraws = screen.isTTY === true && process.env['TERM'] !== 'dumb';
    this.#screen = screen;
    this.#head = head;
  }

  start(label: string, total: number, done = 0): void {
    [this.#label, this.#total, this.#drawnAt] = [label, total, 0];
    this.update(done);
  }

  update(done: number): void {
    if (!this.redraws || performance.now() - this.#drawnAt < 100) return;
    this.#drawnAt = performance.now();
    const columns = (this.#screen.columns ?? 80) - 1;
    const text = `${this.#head}  ${plainText(this.#label)} ${Math.floor((100 * done) / this.#total)} %`;
    this.#screen.write(`${CLEAR}${text.slice(0, columns)}`);
  }

  /** The line stays between two stages: the tour writes over it. */
  stop(): void {}

  close(): void {
    if (this.redraws) this.#screen.write(CLEAR);
  }
}
