import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { boundText, verdictSign, type ClaimRecord } from './claims.ts';
import type { Experiment } from './experiment.ts';
import { numberText } from './number-text.ts';
import { page } from './page.ts';
import { pageData, pageScript } from './page-script.ts';
import { escapeXml as escape } from '../pictures/style.ts';
import { readClaims } from './run-context.ts';
import { chartsOf, figuresOf, flatten, metricsOf, stepPicturesOf, type StepPictures } from './run-data.ts';
import { RunFolder, type RunRecord } from './run-folder.ts';
import { wordList } from './words.ts';
import { writeFile } from './write-file.ts';

/** Pixels that a figure keeps on a narrow screen, where it can be moved sideways: its letters stay readable. */
const LEAST_WIDTH = 440;

/** Points of a curve on the page at most. */
const MOST_POINTS = 400;

/** Writes `report.html` of a run folder: one file that needs no network and nothing beside it. */
export async function writeReport(experiment: Experiment, folder: string): Promise<string> {
  const path = join(folder, 'report.html');
  await writeFile(path, reportHtml(experiment, folder));
  return path;
}

/** The report from what is in the folder now: claims first, then pictures and curves, and folded what only a repetition of the run needs. */
function reportHtml(experiment: Experiment, folder: string): string {
  const { record } = RunFolder.at(folder);
  const charts = chartsOf(experiment, metricsOf(folder), MOST_POINTS);
  const pictures = stepPicturesOf(folder).map((one): StepPictures => ({
    ...one,
    steps: one.steps.map(({ step, file }) => ({ step, file: dataUri(folder, file) })),
  }));
  const seen = [
    section('Claims', claimsTable(readClaims(folder))),
    section('Samples', pictures.length === 0 ? '' : `<div id="steps">${withoutScript}</div>`),
    section('Figures', figures(folder)),
    section('Curves', charts.length === 0 ? '' : `<div class="charts" id="charts">${withoutScript}</div>`),
  ].join('');
  const body = [
    header(experiment, record),
    seen,
    section('Words', wordList(seen + charts.map(({ title, note }) => `${title} ${note}`).join(' '))),
    folded('Configuration', keyTable(flatten(record.config))),
    folded('Run and environment', keyTable(runFacts(record))),
    pageData('chart-data', charts),
    pageData('step-data', pictures),
  ];
  return page(`${experiment.name} ${record.preset}`, body.join(''), pageScript('run-page'));
}

const withoutScript = '<noscript>This part needs JavaScript.</noscript>';

function header(experiment: Experiment, record: RunRecord): string {
  const status = record.status === 'finished' ? 'finished' : record.reason ? `${record.status}: ${record.reason}` : record.status;
  return (
    `<header><p class="soft">${paperLink(experiment)}</p><h1>${escape(experiment.title)}</h1>` +
    `<p class="soft">${escape(`${record.experiment} ${record.preset} · seed ${record.seed} · ${dateText(record.started)} · ${status}`)}</p></header>`
  );
}

/** The title of the paper with its link, as HTML. */
export const paperLink = ({ paper: { title, arxiv } }: Pick<Experiment, 'paper'>): string =>
  `<a href="https://arxiv.org/abs/${escape(arxiv)}">${escape(title)}</a> · arXiv ${escape(arxiv)}`;

/** `2026-11-28 09:54 UTC` */
export const dateText = (iso: string): string => `${iso.slice(0, 16).replace('T', ' ')} UTC`;

const section = (title: string, body: string): string => (body === '' ? '' : `<section><h2>${title}</h2>${body}</section>`);

const folded = (title: string, body: string): string => `<details><summary><h2>${title}</h2></summary>${body}</details>`;

const CLAIM_COLUMNS = ['verdict', 'claim', 'measured here', 'bound', 'published'];

/** The claims of a run with their verdicts, as HTML; empty without any. Narrow screens show it as a list. */
export function claimsTable(rows: readonly ClaimRecord[]): string {
  if (rows.length === 0) return '';
  const line = (row: ClaimRecord): string => {
    const detail = row.detail ? `<div class="soft">${escape(row.detail)}</div>` : '';
    const cells = [
      verdictMark(row.verdict),
      `${escape(row.claim)}<details><summary>${escape(row.where)}: how it is measured</summary>${escape(row.how)}</details>`,
      numberText(row.measured) + detail,
      boundText(row.bound),
      escape(row.published),
    ];
    const kinds = [' class="verdict"', '', ' class="number"', ' class="number bound"', ''];
    return `<tr>${cells.map((cell, i) => `<td${kinds[i]}${i < 2 ? '' : ` data-column="${CLAIM_COLUMNS[i]}"`}>${cell}</td>`).join('')}</tr>`;
  };
  const head = CLAIM_COLUMNS.map((name) => `<th>${name}</th>`).join('');
  return `<table class="stack claims"><thead><tr>${head}</tr></thead><tbody>${rows.map(line).join('')}</tbody></table>`;
}

/** The verdict with a mark, so that it can be told without colours. */
export function verdictMark(verdict: ClaimRecord['verdict']): string {
  const kind = { reproduced: 'yes', 'direction only': 'no', 'not reproduced': 'no', 'out of reach': 'open', 'not measured': 'open' }[
    verdict
  ];
  return `<span class="verdict ${kind}">${verdictSign[verdict]} ${verdict}</span>`;
}

function figures(folder: string): string {
  const all = figuresOf(folder);
  if (all.length === 0) return '';
  const drawn = all
    .map(
      ({ caption, width, file, chart }) =>
        `<figure><div class="wide"><img alt="${escape(caption)}" width="${width}" style="min-width:${Math.min(width, LEAST_WIDTH)}px"${chart ? ' class="lines"' : ''} src="${dataUri(folder, file)}"></div>` +
        `<figcaption>${escape(caption)}</figcaption></figure>`,
    )
    .join('');
  return `<div class="figures">${drawn}</div>`;
}

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

/** A picture of a run folder inside the page. */
export function dataUri(folder: string, file: string): string {
  const bytes = readFileSync(join(folder, file));
  const type = file.endsWith('.svg') ? 'image/svg+xml' : 'image/png';
  return `data:${type};base64,${bytes.toString('base64')}`;
}
