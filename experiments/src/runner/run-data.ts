import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { boundText, verdictSign, type ClaimRecord } from './claims.ts';
import { onDisk, StopError } from './errors.ts';
import type { Curve, Experiment } from './experiment.ts';
import { readMetrics, type MetricsLine } from './metrics-file.ts';
import { numberText } from './number-text.ts';
import { thin } from '../pictures/line-chart.ts';
import { style } from '../pictures/style.ts';
import { readCaptions } from './run-context.ts';

/** One line of a chart: steps in order, with their values. */
export type ChartLine = {
  readonly method: string;
  /** The series in `metrics.jsonl`. */
  readonly series: string;
  readonly color: string;
  readonly points: readonly (readonly [step: number, value: number])[];
};

/** A chart of a metric over the steps; the same `id` in another run has the same meaning. */
export type ChartData = { readonly id: string; readonly title: string; readonly note: string; readonly lines: readonly ChartLine[] };

/** The pictures of one name, drawn at several steps from the same noise. */
export type StepPictures = { readonly name: string; readonly width: number; readonly steps: readonly StepPicture[] };
export type StepPicture = { readonly step: number; readonly file: string };

/** A figure of a run; `chart` says whether the file is a chart drawn with lines, not pixels. */
export type Figure = {
  readonly name: string;
  readonly caption: string;
  readonly width: number;
  readonly file: string;
  readonly chart: boolean;
};

/** What the pages say of a measured claim. */
export type ClaimLine = {
  readonly id: string;
  readonly claim: string;
  readonly measured: string;
  readonly bound: string;
  readonly verdict: string;
};

/** Pictures of one name that a page holds at most: evenly chosen, the first and the last among them. */
const MOST_STEPS = 48;

/** What the metrics of more than one experiment measure. */
const METRICS: Readonly<Record<string, string>> = {
  ms: 'Milliseconds per step, all methods together.',
  'error r=t': 'Squared error of a value, in the rows with r = t. It can be compared between methods.',
  'error r<t': 'Squared error of a value, in the rows with r < t.',
  'fake loss': 'Error of the network that learns the score of the generator.',
  divergence: 'How far the scores of the teacher and of the generator are apart.',
  spread: 'Standard deviation of the generated values.',
  critic: 'Loss of the discriminator.',
  adversarial: 'Loss of the generator against the discriminator.',
  norm: 'Norm of the gradient.',
  mse: 'Squared error of the predicted noise, without the term for the variance.',
};

/** One chart for each metric of each group of series; `loss` has a chart for each kind of loss, and all series share the chart of the times. */
export function chartsOf(experiment: Experiment | undefined, lines: readonly MetricsLine[], most: number): ChartData[] {
  const names = [...new Set(lines.map(({ series }) => series))];
  const alone = (series: string, i: number): Curve => ({ method: series, color: i, group: series });
  const curves = new Map(names.map((series, i) => [series, experiment?.curve?.(series) ?? alone(series, i)]));
  const charts = new Map<string, { title: string; note: string; lines: ChartLine[] }>();
  for (const series of names) {
    const { method, color, group, loss } = curves.get(series)!;
    const own = lines.filter((line) => line.series === series);
    for (const metric of new Set(own.flatMap((line) => Object.keys(line)))) {
      if (metric === 'series' || metric === 'step') continue;
      const points = own.flatMap((line): [number, number][] => (typeof line[metric] === 'number' ? [[line.step, line[metric]]] : []));
      if (points.length < 2) continue;
      const kind = metric === 'loss' ? (loss ?? '') : '';
      const id = metric === 'ms' ? metric : [metric, group, kind].join(' ').trim();
      const title = metric === 'ms' ? 'time per step' : `${group}: ${kind || metric}`;
      const chart = charts.get(id) ?? { title, note: METRICS[metric] ?? '', lines: [] };
      chart.lines.push({ method, series, color: style.series[color % style.series.length]!, points: thin(points, most).map(short) });
      charts.set(id, chart);
    }
  }
  const last = (id: string): number => Number(id === 'ms');
  return [...charts].map(([id, chart]) => ({ id, ...chart })).sort((a, b) => last(a.id) - last(b.id));
}

const short = ([step, value]: readonly [number, number]): [number, number] => [Number(step.toFixed(1)), Number(value.toPrecision(5))];

/** The lines of a run's metrics; none if it has no such file. */
export function metricsOf(folder: string): MetricsLine[] {
  const path = join(folder, 'metrics.jsonl');
  return existsSync(path) ? readMetrics(path) : [];
}

/** `samples/` of a run, by name. */
export function stepPicturesOf(folder: string): StepPictures[] {
  const place = join(folder, 'samples');
  if (!existsSync(place)) return [];
  const byName = new Map<string, StepPicture[]>();
  for (const entry of readdirSync(place)) {
    const [, name, step] = /^(.+)-step-(\d+)\.png$/.exec(entry) ?? [];
    if (name === undefined) continue;
    byName.set(name, [...(byName.get(name) ?? []), { step: Number(step), file: `samples/${entry}` }]);
  }
  return [...byName]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, all]) => {
      const steps = evenly(all.sort((a, b) => a.step - b.step));
      return { name, width: pngWidth(join(folder, steps[0]!.file)), steps };
    });
}

function evenly(all: readonly StepPicture[]): readonly StepPicture[] {
  if (all.length <= MOST_STEPS) return all;
  return Array.from({ length: MOST_STEPS }, (_, i) => all[Math.round((i * (all.length - 1)) / (MOST_STEPS - 1))]!);
}

/** `figures/` of a run, in the order in which they were drawn. */
export function figuresOf(folder: string): Figure[] {
  return Object.entries(readCaptions(folder)).flatMap(([name, caption]) => {
    const png = `figures/${name}.png`;
    if (!existsSync(join(folder, png))) return [];
    const svg = `figures/${name}.svg`;
    const chart = existsSync(join(folder, svg));
    return [{ name, caption: caption || name, width: pngWidth(join(folder, png)), file: chart ? svg : png, chart }];
  });
}

export const claimLine = ({ id, claim, measured, bound, verdict }: ClaimRecord): ClaimLine => ({
  id,
  claim,
  measured: numberText(measured),
  bound: boundText(bound),
  verdict: `${verdictSign[verdict]} ${verdict}`,
});

/** Nested records as dotted keys, values as JSON. */
export function flatten(config: Readonly<Record<string, unknown>>, path = ''): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [key, value] of Object.entries(config)) {
    const full = path === '' ? key : `${path}.${key}`;
    if (value !== null && typeof value === 'object' && !Array.isArray(value))
      Object.assign(out, flatten(value as Record<string, unknown>, full));
    else out[full] = JSON.stringify(value);
  }
  return out;
}

/** Width in pixels of layout of a PNG that was drawn at twice the density: half of what its header says. */
function pngWidth(path: string): number {
  const bytes = onDisk(path, () => readFileSync(path));
  const width = bytes.length < 24 || bytes.toString('latin1', 0, 16) !== PNG_BEGIN ? 0 : bytes.readUInt32BE(16);
  if (width === 0 || width > 2 ** 31 - 1) throw new StopError(`${path}: wanted a PNG file, got something else`);
  return Math.round(width / 2);
}

/** Signature of PNG, and length and type of its first part. */
const PNG_BEGIN = '\x89PNG\r\n\x1a\n\0\0\0\rIHDR';
