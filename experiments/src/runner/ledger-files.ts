import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { ClaimRecord } from './claims.ts';
import { onDisk, StopError } from './errors.ts';
import type { Experiment } from './experiment.ts';
import { detailsMarkdown, ledgerHtml, ledgerMarkdown } from './ledger-page.ts';
import { ledgerOf, mergeLedger, recordsOf, unshown } from './ledger.ts';
import { workspace } from './machine.ts';
import { runIds } from './run-folder.ts';
import { writeRunsPage } from './runs-page.ts';
import { typedCommand } from './typed-command.ts';
import { writeFile } from './write-file.ts';

/** The folder of the ledger that is committed. */
export const committed = join(workspace, 'docs');

/**
 * `atelier report`: the ledger of the user's own runs, as results.md, results.html and the folder results/ in a folder other than that of the committed ledger, and
 * index.html with all runs. If nothing was measured, no ledger is written; without a run, nothing.
 *
 * @returns what to say
 */
export async function reportRuns(
  experiments: readonly Experiment[],
  runs: string,
  folder: string,
  warn: (text: string) => void,
): Promise<string[]> {
  if (resolve(folder) === committed)
    throw new StopError(
      `report: ${committed} holds the ledger that is committed; add runs to it with: ${typedCommand(['ledger', 'merge'], runs)}`,
    );
  const records = recordsOf(runs, warn);
  const ledger = records.length === 0 ? undefined : await writeLedger(experiments, records, folder);
  const index = await writeRunsPage(experiments, runs, folder, warn);
  if (index === undefined) return [`no run in ${runs}, so nothing is written`];
  const said =
    ledger === undefined
      ? `no run in ${runs} has measured a claim, so no ledger is written`
      : `${ledger.claims} claims, ${ledger.measured} measured in ${runIds(runs).length} runs: ${folder}/results.md and results.html`;
  return [said, `${index.count} runs, to look at and to compare: ${index.path}`];
}

/**
 * `atelier ledger merge`: adds the records of the runs to results.json of the committed ledger, and writes
 * results.md, results.html and results/ again from it.
 *
 * @returns what to say
 */
export async function mergeRuns(
  experiments: readonly Experiment[],
  runs: string,
  folder: string,
  warn: (text: string) => void,
): Promise<string[]> {
  const path = join(folder, 'results.json');
  const { all, added } = mergeLedger(path, recordsOf(runs, warn));
  if (all.length === 0) return [`no run in ${runs} has measured a claim, and ${path} holds none: nothing is written`];
  await writeFile(path, `${JSON.stringify(all, null, 2)}\n`);
  const { claims, measured } = await writeLedger(experiments, all, folder);
  const hidden = unshown(experiments, all).length;
  return [
    `${added} records added, ${all.length} in ${path}; ${claims} claims, ${measured} measured`,
    ...(hidden === 0 ? [] : [`${hidden} records of claims or bounds that the code no longer states are kept, but not shown`]),
  ];
}

async function writeLedger(
  experiments: readonly Experiment[],
  records: readonly ClaimRecord[],
  folder: string,
): Promise<{ claims: number; measured: number }> {
  const parts = ledgerOf(experiments, records);
  const details = join(folder, 'results');
  onDisk(details, () => mkdirSync(details, { recursive: true }));
  for (const part of parts) await writeFile(join(details, `${part.experiment.name}.md`), detailsMarkdown(part));
  await writeFile(join(folder, 'results.md'), ledgerMarkdown(parts));
  await writeFile(join(folder, 'results.html'), ledgerHtml(parts));
  const rows = parts.flatMap((part) => part.rows);
  return { claims: rows.length, measured: rows.filter(({ decides }) => decides !== undefined).length };
}
