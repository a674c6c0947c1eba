import { join } from 'node:path';
import { deviation, mean } from 'd3-array';
import { shown, unknown } from '@atelier/tensor';
import { lineChart } from '../pictures/line-chart.ts';
import { configHash } from '../runner/config.ts';
import { StopError } from '../runner/errors.ts';
import type { Picture } from '../runner/experiment.ts';
import { readRecords } from '../runner/kept-run.ts';
import { markdownText } from '../runner/markdown-text.ts';
import { numberText } from '../runner/number-text.ts';
import { readClaims } from '../runner/run-context.ts';
import { flatten, metricsOf } from '../runner/run-data.ts';
import type { RunRecord } from '../runner/run-folder.ts';

/** Runs that differ in nothing but the seed. */
export interface Row {
  /** The keys that differ between the rows, with JSON values. */
  readonly keys: Readonly<Record<string, string>>;
  readonly runs: readonly string[];
  /** The values of every metric, one of each run that has it. */
  readonly metrics: Readonly<Record<string, readonly number[]>>;
}

/** What can be compared, and how it is chosen. */
export interface Comparison {
  /** Keys that differ. */
  readonly keys: readonly string[];
  readonly metrics: readonly string[];
  readonly rows: readonly Row[];
}

/**
 * The finished runs of an experiment, with those that differ only in the seed in one row. Metrics are the measured claims by id, and the last line of every series as
 * `<series>.<metric>`. Of equal configurations the newest run counts.
 *
 * @param chosen hashes of the configurations that count; all if absent
 * @throws StopError if there is no such run
 */
export function compareRuns(
  runs: string,
  experiment: string,
  { preset, chosen }: { preset?: string; chosen?: ReadonlySet<string> },
): Comparison {
  const newest = new Map<string, RunRecord>();
  for (const record of readRecords(runs))
    if (record.experiment === experiment && record.status === 'finished' && (preset === undefined || record.preset === preset))
      if (chosen === undefined || chosen.has(record.configHash)) newest.set(record.configHash, record);
  if (newest.size === 0)
    throw new StopError(`compare: wanted finished runs of ${experiment}${preset === undefined ? '' : ` ${preset}`} in ${runs}, got none`);
  const groups = new Map<string, RunRecord[]>();
  for (const record of newest.values()) {
    const hash = configHash({ ...record.config, seed: 0 });
    groups.set(hash, [...(groups.get(hash) ?? []), record]);
  }
  const configs = [...groups.values()].map(([first]) => flatten(first!.config));
  const all = [...new Set(configs.flatMap((config) => Object.keys(config)))];
  const keys = all.filter((key) => key !== 'seed' && new Set(configs.map((config) => config[key])).size > 1);
  const rows = [...groups.values()].map((records, i): Row => {
    const metrics: Record<string, number[]> = {};
    for (const { id } of records)
      for (const [name, value] of Object.entries(metricsOfRun(join(runs, id)))) (metrics[name] ??= []).push(value);
    return { keys: Object.fromEntries(keys.map((key) => [key, configs[i]![key] ?? '-'])), runs: records.map(({ id }) => id), metrics };
  });
  rows.sort((a, b) => order(a, b, keys));
  return { keys, metrics: [...new Set(rows.flatMap(({ metrics }) => Object.keys(metrics)))], rows };
}

function metricsOfRun(folder: string): Record<string, number> {
  const out: Record<string, number> = {};
  for (const { id, measured } of readClaims(folder)) out[id] = measured;
  for (const { series, step: _, ...numbers } of metricsOf(folder))
    for (const [name, value] of Object.entries(numbers)) if (typeof value === 'number') out[`${series}.${name}`] = value;
  return out;
}

function order(a: Row, b: Row, keys: readonly string[]): number {
  for (const key of keys) {
    const [x, y] = [a.keys[key]!, b.keys[key]!];
    if (x !== y) return Number.isNaN(Number(x) - Number(y)) ? x.localeCompare(y) : Number(x) - Number(y);
  }
  return 0;
}

/** The metrics that a table shows: the named ones, or the claims, or without any of these the losses. @throws StopError for an unknown name, with the nearest */
function shownMetrics({ metrics }: Comparison, asked: readonly string[]): readonly string[] {
  const stranger = asked.find((name) => !metrics.includes(name));
  if (stranger !== undefined) throw new StopError(unknown('metric', stranger, metrics));
  if (asked.length > 0) return asked;
  const claims = metrics.filter((name) => !name.includes('.'));
  return claims.length > 0 ? claims : metrics.filter((name) => name.endsWith('.loss'));
}

/** A table in Markdown: mean ± standard deviation over the seeds, and the number of runs. */
export function comparisonLines(comparison: Comparison, asked: readonly string[] = []): string[] {
  const names = shownMetrics(comparison, asked);
  const cells = [
    [...comparison.keys, 'runs', ...names],
    ...comparison.rows.map(({ keys, runs, metrics }) => [
      ...comparison.keys.map((key) => keys[key]!),
      String(runs.length),
      ...names.map((name) => spreadText(metrics[name] ?? [])),
    ]),
  ].map((row) => row.map((cell) => markdownText(cell)));
  const widths = cells[0]!.map((_, k) => Math.max(...cells.map((row) => row[k]!.length)));
  const line = (row: readonly string[]): string => `| ${row.map((cell, k) => cell.padEnd(widths[k]!)).join(' | ')} |`;
  return [line(cells[0]!), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...cells.slice(1).map(line)];
}

/** `0.41 ± 0.03`; one value has no spread. */
function spreadText(values: readonly number[]): string {
  if (values.length === 0) return '–';
  return values.length === 1 ? numberText(values[0]!) : `${numberText(mean(values)!)} ± ${numberText(deviation(values)!)}`;
}

/**
 * A metric against a key, one curve for every combination of the other keys that differ: means over the seeds, in a band of one standard deviation to both sides. Numbers that lie
 * far apart get a logarithmic axis.
 *
 * @throws StopError for an unknown name, or a key whose values are not numbers
 */
export function comparisonChart(comparison: Comparison, metric: string, key: string): Picture {
  const { keys, metrics, rows } = comparison;
  if (!metrics.includes(metric)) throw new StopError(unknown('metric', metric, metrics));
  if (!keys.includes(key)) throw new StopError(unknown('key that differs', key, keys));
  const curves = new Map<string, { x: number; values: readonly number[] }[]>();
  for (const row of rows) {
    const x = Number(row.keys[key]);
    if (!Number.isFinite(x)) throw new StopError(`compare: '${key}': wanted numbers for a chart, got ${shown(row.keys[key])}`);
    const name = keys
      .filter((other) => other !== key)
      .map((other) => `${other} ${row.keys[other]}`)
      .join(', ');
    const values = row.metrics[metric] ?? [];
    if (values.length > 0) curves.set(name, [...(curves.get(name) ?? []), { x, values }]);
  }
  const series = [...curves].map(([name, points]) => ({
    name,
    points: points.map(({ x, values }) => [x, mean(values)!] as const),
    band: points.filter(({ values }) => values.length > 1).map(({ x, values }) => [x, ...around(values)] as const),
  }));
  const xs = [...new Set(series.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
  const ys = series.flatMap(({ points, band }) => [...points.map(([, y]) => y), ...band.map(([, low]) => low)]);
  const hasBand = series.some(({ band }) => band.length > 0);
  return lineChart(series, {
    title: `${metric} against ${key}`,
    x: key,
    y: hasBand ? 'mean over the seeds; band: one standard deviation' : metric,
    dots: true,
    logX: isWide(xs, 20) || (isWide(xs, 1) && growsFast(xs)),
    logY: isWide(ys, 10),
    ...(xs.length <= 8 && { xTicks: xs }),
  });
}

/** One standard deviation below and above the mean. */
const around = (values: readonly number[]): [number, number] =>
  [-1, 1].map((side) => mean(values)! + side * deviation(values)!) as [number, number];

/** Whether numbers are positive, and the greatest is so many times the least. */
const isWide = (values: readonly number[], times: number): boolean =>
  Math.min(...values) > 0 && Math.max(...values) >= times * Math.min(...values);

/** Whether steps get four times as large, as in 10, 20, 40, 80: on a linear axis the first ones would lie close together. */
function growsFast(sorted: readonly number[]): boolean {
  const steps = sorted.slice(1).map((x, i) => x - sorted[i]!);
  return steps.length > 1 && Math.max(...steps) >= 4 * Math.min(...steps);
}
