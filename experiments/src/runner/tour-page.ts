import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { escapeXml as escape } from '../pictures/style.ts';
import type { ClaimRecord } from './claims.ts';
import type { ClaimDefinition, Experiment } from './experiment.ts';
import { page } from './page.ts';
import { timeText } from './progress.ts';
import { claimsTable, dataUri } from './report-html.ts';
import { readCaptions } from './run-context.ts';
import type { RunFolder } from './run-folder.ts';
import { writeFile } from './write-file.ts';

/** One paper of a tour: its run and what it measured. */
export interface TourStop {
  readonly experiment: Experiment;
  readonly folder: RunFolder;
  readonly claims: readonly ClaimRecord[];
  readonly seconds: number;
}

/** Claims of a paper that its run has not tested: those that a longer preset can, and those out of reach. */
function untested({ experiment, claims }: TourStop): { longer: ClaimDefinition[]; outOfReach: ClaimDefinition[] } {
  const open = experiment.claims.filter(({ id }) => !claims.some((row) => row.id === id));
  const [outOfReach, longer] = [true, false].map((wanted) => open.filter(({ bound }) => 'outOfReach' in bound === wanted)) as [ClaimDefinition[], ClaimDefinition[]]; // prettier-ignore
  return { longer, outOfReach };
}

/** The table that a tour prints: claims reproduced, tested, and not tested, and the time, a line for each paper. */
export function summaryLines(stops: readonly TourStop[]): string[] {
  const rows = stops.map((stop) => {
    const { longer, outOfReach } = untested(stop);
    const held = stop.claims.filter(({ verdict }) => verdict === 'reproduced').length;
    return [
      stop.experiment.name,
      `${held} of ${stop.claims.length}`,
      String(longer.length),
      String(outOfReach.length),
      timeText(stop.seconds),
    ];
  });
  const table = [['paper', 'claims reproduced', 'need a longer run', 'out of reach', 'time'], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  return table.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('   ')
      .trimEnd(),
  );
}

/** Writes `tour.html` into the folder of the runs. Returns its path. */
export async function writeTour(stops: readonly TourStop[], runs: string): Promise<string> {
  const path = join(runs, 'tour.html');
  const head =
    '<header><h1>Seven papers in a few minutes</h1>' +
    '<p>Each part is a short run on this machine. It tests only the claims in its table, with the bounds of the ledger. ' +
    'Claims that need a longer run, or another machine, are listed below the table, and nothing is said here about whether they hold.</p></header>';
  await writeFile(path, page('A tour of Atelier', head + stops.map(section).join('')));
  return path;
}

function section(stop: TourStop): string {
  const { experiment, folder, claims, seconds } = stop;
  const { record } = folder;
  const { paper, tour } = experiment;
  const { longer, outOfReach } = untested(stop);
  const list = (title: string, found: readonly ClaimDefinition[]): string =>
    found.length === 0
      ? ''
      : `<details><summary>${found.length} ${title}</summary><ul>${found.map(({ claim }) => `<li>${escape(claim)}</li>`).join('')}</ul></details>`;
  return (
    `<section><h2>${escape(experiment.title)}</h2>` +
    `<p class="soft">${escape(paper.title)} · <a href="https://arxiv.org/abs/${escape(paper.arxiv)}">arXiv ${escape(paper.arxiv)}</a></p>` +
    `<p>Shown here: ${escape(tour!.shows)}. The preset '${escape(record.preset)}' took ${timeText(seconds)}; ` +
    `<a href="${encodeURIComponent(record.id)}/report.html">the report of the run</a> has all curves and pictures.</p>` +
    figure(folder.path, tour!.figure) +
    (claims.length === 0 ? '<p>This run tests no claim.</p>' : claimsTable(claims)) +
    list('claims need a longer run, and were not tested here', longer) +
    list('claims are out of reach of this machine', outOfReach) +
    '</section>'
  );
}

function figure(folder: string, name: string): string {
  const file = `figures/${name}.png`;
  if (!existsSync(join(folder, file))) return '';
  const caption = readCaptions(folder)[name] ?? '';
  return `<figure><img alt="${escape(name)}" src="${dataUri(folder, file)}"><figcaption>${escape(caption)}</figcaption></figure>`;
}
