import { existsSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { verdictSign, type ClaimRecord, type Verdict } from './claims.ts';
import { sentence } from './errors.ts';
import type { Experiment } from './experiment.ts';
import { page } from './page.ts';
import { pageData, pageScript } from './page-script.ts';
import { escapeXml as escape } from '../pictures/style.ts';
import { paperLink, dateText } from './report-html.ts';
import { readClaims } from './run-context.ts';
import {
  chartsOf,
  claimLine,
  figuresOf,
  flatten,
  metricsOf,
  stepPicturesOf,
  type ChartData,
  type ClaimLine,
  type Figure,
  type StepPictures,
} from './run-data.ts';
import { RunFolder, type RunRecord } from './run-folder.ts';
import { listRuns } from './run-list.ts';
import { writeFile } from './write-file.ts';

/** A run as the page compares it; paths of pictures are seen from the page. */
export interface RunEntry {
  readonly id: string;
  readonly title: string;
  /** Dotted keys with JSON values. */
  readonly config: Readonly<Record<string, string>>;
  readonly claims: readonly ClaimLine[];
  readonly charts: readonly ChartData[];
  readonly steps: readonly StepPictures[];
  readonly figures: readonly Figure[];
}

/** Points of a curve at most: the page holds the curves of all runs. */
const MOST_POINTS = 150;

/**
 * Writes `index.html` with all runs of a folder, newest first; two of them can be compared. Pictures stay in the run folders. A run that cannot be read
 * is listed and reported.
 *
 * @returns the path of the page, and how many runs are on it; undefined without any run, where nothing is written
 */
export async function writeRunsPage(
  experiments: readonly Experiment[],
  runs: string,
  folder: string,
  warn: (text: string) => void,
): Promise<{ path: string; count: number } | undefined> {
  const listed = listRuns(runs).reverse();
  if (listed.length === 0) return undefined;
  const entries: RunEntry[] = [];
  const rows = listed.map(({ id, status, reason }) => {
    const place = join(runs, id);
    try {
      const { record } = RunFolder.at(place);
      const claims = readClaims(place);
      const experiment = experiments.find(({ name }) => name === record.experiment);
      const address = relative(folder, place).split(sep).map(encodeURIComponent).join('/');
      entries.push(entryOf(experiment, record, { place, claims, address }));
      const report = existsSync(join(place, 'report.html')) ? `${address}/report.html` : undefined;
      return rowOf(experiment, record, { claims, status, report });
    } catch (error) {
      warn(`${id}: cannot be shown: ${sentence(error)}`);
      const cells = ['', escape(id), '', `${escape(status)}<div class="soft">${escape(reason || sentence(error))}</div>`, ''];
      return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
    }
  });
  const head = ['', 'run', 'claims', 'status', 'started'].map((name) => `<th>${name}</th>`).join('');
  const body =
    `<header><h1>Runs</h1><p class="soft">${listed.length} runs, newest first.${existsSync(join(folder, 'results.html')) ? ' <a href="results.html">All claims over all runs</a>.' : ''}</p></header>` +
    `<p id="hint" aria-live="polite">Comparing two runs needs JavaScript.</p>` +
    `<table class="stack runs"><thead><tr>${head}</tr></thead><tbody>${rows.join('')}</tbody></table><div id="comparison"></div>` +
    pageData('run-data', entries);
  const path = join(folder, 'index.html');
  await writeFile(path, page('Runs', body, pageScript('runs-page')));
  return { path, count: listed.length };
}

/** @throws StopError if a file of the run is damaged. */
function entryOf(
  experiment: Experiment | undefined,
  record: RunRecord,
  { place, claims, address }: { place: string; claims: readonly ClaimRecord[]; address: string },
): RunEntry {
  const seen = (file: string): string => `${address}/${file}`;
  return {
    id: record.id,
    title: experiment?.title ?? record.experiment,
    config: flatten(record.config),
    claims: claims.map(claimLine),
    charts: chartsOf(experiment, metricsOf(place), MOST_POINTS),
    steps: stepPicturesOf(place).map((one) => ({ ...one, steps: one.steps.map(({ step, file }) => ({ step, file: seen(file) })) })),
    figures: figuresOf(place).map((one) => ({ ...one, file: seen(one.file) })),
  };
}

function rowOf(
  experiment: Experiment | undefined,
  record: RunRecord,
  { claims, status, report }: { claims: readonly ClaimRecord[]; status: string; report: string | undefined },
): string {
  const id = escape(record.id);
  const name = report === undefined ? id : `<a href="${escape(report)}">${id}</a>`;
  const soft = (words: string): string => (words === '' ? '' : `<div class="soft">${words}</div>`);
  const about = experiment === undefined ? '' : `${escape(experiment.title)} · ${paperLink(experiment)}`;
  const box = `<input type="checkbox" name="compare" value="${id}" aria-label="compare ${id}">`;
  return (
    `<tr><td>${box}</td><td>${name}${soft(about)}${soft(escape(record.words.join(' ')))}</td>` +
    `<td class="counts" data-column="claims">${countText(claims.map(({ verdict }) => verdict))}</td>` +
    `<td data-column="status">${escape(status)}${soft(escape(record.reason ?? ''))}</td>` +
    `<td class="when" data-column="started">${dateText(record.started)}</td></tr>`
  );
}

/** `✓ 8 ~ 1`: how often each verdict stands in a run. */
function countText(verdicts: readonly Verdict[]): string {
  const kinds = [...new Set(verdicts)].sort();
  return kinds
    .map((kind) => `<span title="${kind}">${verdictSign[kind]} ${verdicts.filter((one) => one === kind).length}</span>`)
    .join(' ');
}
