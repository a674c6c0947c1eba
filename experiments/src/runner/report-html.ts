import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { boundText, numberText, verdictSign, type ClaimRecord } from './claims.ts';
import type { Experiment } from './experiment.ts';
import { readMetrics, type MetricsLine } from './metrics-file.ts';
import { page } from './page.ts';
import { lineChart } from '../pictures/line-chart.ts';
import { escapeXml as escape } from '../pictures/style.ts';
import { readCaptions, readClaims } from './run-context.ts';
import { RunFolder, type RunRecord } from './run-folder.ts';
import { writeFile } from './write-file.ts';

/** How many earlier pictures of one name the report shows beside the last. */
const EARLIER = 6;

/** Writes `report.html` of a run folder: one file that needs no network and nothing beside it. */
export async function writeReport(experiment: Experiment, folder: string): Promise<string> {
  const path = join(folder, 'report.html');
  await writeFile(path, reportHtml(experiment, folder));
  return path;
}

/** The report from what is in the folder now. */
function reportHtml(experiment: Experiment, folder: string): string {
  const { record } = RunFolder.at(folder);
  const metricsPath = join(folder, 'metrics.jsonl');
  const lines = existsSync(metricsPath) ? readMetrics(metricsPath) : [];
  const sections = [
    section('Claims', claimsTable(readClaims(folder))),
    section('Figures', figures(folder)),
    section('Samples', samples(folder)),
    section('Curves', curves(lines)),
    section('Configuration', keyTable(flatten(record.config))),
    section('Run', keyTable(runFacts(record))),
  ];
  return page(`${experiment.name} ${record.preset}`, header(experiment, record) + sections.join(''));
}

function header(experiment: Experiment, record: RunRecord): string {
  const status = record.status === 'finished' ? 'finished' : record.reason ? `${record.status}: ${record.reason}` : record.status;
  return (
    `<header><p class="soft">${escape(experiment.paper.title)} · arXiv ${escape(experiment.paper.arxiv)}</p>` +
    `<h1>${escape(experiment.title)}</h1>` +
    `<p class="soft">${escape(`${record.experiment} ${record.preset} · seed ${record.seed} · ${record.started.slice(0, 16).replace('T', ' ')} UTC · ${status}`)}</p></header>`
  );
}

const section = (title: string, body: string): string => (body === '' ? '' : `<section><h2>${title}</h2>${body}</section>`);

function claimsTable(rows: readonly ClaimRecord[]): string {
  if (rows.length === 0) return '';
  const line = (row: ClaimRecord): string =>
    `<tr><td>${escape(row.claim)}<div class="soft">${escape(row.where)} · ${escape(row.how)}</div></td><td>${escape(row.published)}</td>` +
    `<td class="number">${numberText(row.measured)}${row.detail ? `<div class="soft">${escape(row.detail)}</div>` : ''}</td>` +
    `<td class="number">${boundText(row.bound)}</td><td>${verdictMark(row.verdict)}</td></tr>`;
  return `<table><thead><tr><th>claim</th><th>published</th><th>measured here</th><th>bound</th><th>verdict</th></tr></thead><tbody>${rows.map(line).join('')}</tbody></table>`;
}

/** The verdict with a mark, so that it can be told without colours. */
export function verdictMark(verdict: ClaimRecord['verdict']): string {
  const kind = { reproduced: 'yes', 'direction only': 'no', 'not reproduced': 'no', 'out of reach': 'open', 'not measured': 'open' }[
    verdict
  ];
  return `<span class="verdict ${kind}">${verdictSign[verdict]} ${verdict}</span>`;
}

function figures(folder: string): string {
  const place = join(folder, 'figures');
  return Object.entries(readCaptions(folder))
    .filter(([name]) => existsSync(join(place, `${name}.png`)))
    .map(([name, caption]) => {
      const svg = join(place, `${name}.svg`);
      const drawing = existsSync(svg)
        ? dataUri('image/svg+xml', readFileSync(svg))
        : dataUri('image/png', readFileSync(join(place, `${name}.png`)));
      return figure(drawing, caption || name, pngWidth(readFileSync(join(place, `${name}.png`))));
    })
    .join('');
}

function samples(folder: string): string {
  const place = join(folder, 'samples');
  if (!existsSync(place)) return '';
  const byName = new Map<string, { file: string; step: number }[]>();
  for (const file of readdirSync(place).sort()) {
    const match = /^(.+)-step-(\d+)\.png$/.exec(file);
    if (match) byName.set(match[1]!, [...(byName.get(match[1]!) ?? []), { file, step: Number(match[2]) }]);
  }
  return [...byName]
    .map(([name, files]) => {
      const draw = ({ file, step }: { file: string; step: number }): string => {
        const bytes = readFileSync(join(place, file));
        return figure(dataUri('image/png', bytes), `${name}, after step ${step}`, pngWidth(bytes));
      };
      const sorted = files.sort((a, b) => a.step - b.step);
      const before = sorted.slice(0, -1);
      // Evenly over the whole training, because the first pictures change most.
      const shown =
        before.length <= EARLIER ? before : Array.from({ length: EARLIER }, (_, i) => before[Math.floor((i * before.length) / EARLIER)]!);
      const earlier = shown.length === 0 ? '' : `<details><summary>earlier steps</summary>${shown.map(draw).join('')}</details>`;
      return draw(sorted.at(-1)!) + earlier;
    })
    .join('');
}

/** One chart for each metric that some series has at two steps or more. */
function curves(lines: readonly MetricsLine[]): string {
  const names = [...new Set(lines.flatMap((line) => Object.keys(line).filter((key) => key !== 'series' && key !== 'step')))];
  return names
    .map((name) => {
      const series = [...new Set(lines.map((line) => line.series))]
        .map((one) => ({
          name: one,
          points: lines
            .filter((line) => line.series === one && typeof line[name] === 'number')
            .map((line) => [line.step, line[name] as number] as const),
        }))
        .filter(({ points }) => points.length > 1);
      if (series.length === 0) return '';
      const picture = lineChart(series, { title: name === 'ms' ? 'milliseconds per step' : name, x: 'step', width: 520, height: 240 });
      return `<figure class="half"><img alt="${escape(name)} over steps" width="${picture.width}" src="${dataUri('image/svg+xml', Buffer.from(picture.svg!))}"></figure>`;
    })
    .join('');
}

const figure = (source: string, caption: string, width: number): string =>
  `<figure><img alt="${escape(caption)}" width="${width}" src="${source}"><figcaption>${escape(caption)}</figcaption></figure>`;

const keyTable = (rows: Record<string, string>): string =>
  `<table class="keys"><tbody>${Object.entries(rows)
    .map(([key, value]) => `<tr><th>${escape(key)}</th><td>${escape(value)}</td></tr>`)
    .join('')}</tbody></table>`;

function runFacts(record: RunRecord): Record<string, string> {
  return {
    id: record.id,
    engine: Object.values(record.engine).join(', '),
    machine: record.machine,
    commit: record.commit,
    versions: Object.entries(record.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
    'changed keys': record.words.join(' ') || 'none',
    'hash of the configuration': record.configHash.slice(0, 16),
    started: record.started,
    ended: record.ended ?? 'not yet',
    resumed: `${record.resumed} times`,
  };
}

/** Nested records as dotted keys, values as JSON. */
function flatten(config: Readonly<Record<string, unknown>>, path = ''): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [key, value] of Object.entries(config)) {
    const full = path === '' ? key : `${path}.${key}`;
    if (value !== null && typeof value === 'object' && !Array.isArray(value))
      Object.assign(out, flatten(value as Record<string, unknown>, full));
    else out[full] = JSON.stringify(value);
  }
  return out;
}

const dataUri = (type: string, bytes: Uint8Array): string => `data:${type};base64,${Buffer.from(bytes).toString('base64')}`;

/** Width in pixels of layout of a PNG that was drawn at twice the density: half of what its header says. */
const pngWidth = (bytes: Buffer): number => Math.round(bytes.readUInt32BE(16) / 2);
