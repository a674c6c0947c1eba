import { join } from 'node:path';
import { boundText, numberText, type ClaimRecord } from './claims.ts';
import { sentence } from './errors.ts';
import type { ClaimDefinition, Experiment } from './experiment.ts';
import { page } from './page.ts';
import { escapeXml as escape } from '../pictures/style.ts';
import { verdictMark } from './report-html.ts';
import { readClaims } from './run-context.ts';
import { runIds } from './run-folder.ts';

/** A claim with everything that was measured for it, newest first, or without. */
export interface LedgerRow {
  readonly definition: ClaimDefinition;
  /** The newest measurement of each preset, longest preset last. */
  readonly measured: readonly ClaimRecord[];
  /** Of all runs of unchanged presets: how many there are and how many reproduced the claim. */
  readonly runs: number;
  readonly reproduced: number;
}

export interface LedgerPart {
  readonly experiment: Experiment;
  readonly rows: readonly LedgerRow[];
}

/**
 * The ledger over all runs of a folder: every claim of every experiment has its row. Only unchanged presets count (another seed is no change), and a
 * record counts only if its bound is still the one that the experiment states, so that a bound changed later does not keep an old verdict.
 */
export function collectLedger(experiments: readonly Experiment[], runs: string, warn: (text: string) => void): LedgerPart[] {
  const records: ClaimRecord[] = [];
  for (const id of runIds(runs)) {
    try {
      records.push(...readClaims(join(runs, id)));
    } catch (error) {
      warn(`left out: ${sentence(error)}`);
    }
  }
  return experiments.map((experiment) => ({
    experiment,
    rows: experiment.claims.map((definition) => {
      const all = records.filter(
        (row) =>
          row.experiment === experiment.name &&
          row.id === definition.id &&
          !row.changed &&
          JSON.stringify(row.bound) === JSON.stringify(definition.bound),
      );
      const measured = Object.keys(experiment.presets).flatMap((preset) => all.filter((row) => row.preset === preset).slice(-1));
      return { definition, measured, runs: all.length, reproduced: all.filter((row) => row.verdict === 'reproduced').length };
    }),
  }));
}

/** `docs/results.md` */
export function ledgerMarkdown(parts: readonly LedgerPart[]): string {
  const lines = ['# Results', '', ...INTRODUCTION, ''];
  for (const { experiment, rows } of parts) {
    lines.push(
      `## ${experiment.paper.title}`,
      '',
      `\`${experiment.name}\` · [arXiv ${experiment.paper.arxiv}](https://arxiv.org/abs/${experiment.paper.arxiv})`,
      '',
    );
    lines.push('| claim | published | measured here | bound | verdict | preset, seed | machine, date |', '|---|---|---|---|---|---|---|');
    for (const row of rows) for (const cells of rowCells(experiment, row)) lines.push(`| ${cells.map(markdownCell).join(' | ')} |`);
    lines.push('');
  }
  return lines.join('\n');
}

/** The same as one page. */
export function ledgerHtml(parts: readonly LedgerPart[]): string {
  const tables = parts.map(({ experiment, rows }) => {
    const head = ['claim', 'published', 'measured here', 'bound', 'verdict', 'preset, seed', 'machine, date']
      .map((word) => `<th>${word}</th>`)
      .join('');
    const body = rows
      .flatMap((row) => rowCells(experiment, row))
      .map(
        (cells) =>
          `<tr>${cells.map((cell, i) => `<td>${i === 4 ? cell.replace(/^(.*?)( \(.*)?$/, (_, verdict: string, rest = '') => verdictMark(verdict as ClaimRecord['verdict']) + escape(String(rest))) : escape(cell)}</td>`).join('')}</tr>`,
      )
      .join('');
    return `<section><h2>${escape(experiment.paper.title)} · arXiv ${escape(experiment.paper.arxiv)}</h2><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></section>`;
  });
  return page('Results', `<header><h1>Results</h1><p>${INTRODUCTION.map(escape).join(' ')}</p></header>${tables.join('')}`);
}

const INTRODUCTION = [
  'Every headline claim of every paper, its published value, and what was measured here. Written by `atelier report` from the runs, never by hand;',
  'the bound of a claim is part of the code and was fixed before the run. Sizes and data here are smaller than in the papers, so what is tested is the',
  'inequality, not the number.',
];

/** The cells of one claim: one line for each preset that measured it, or one that says why there is none. */
function rowCells(experiment: Experiment, { definition, measured, runs, reproduced }: LedgerRow): string[][] {
  const { claim, where, published, how, bound } = definition;
  const first = [`${claim} (${where}; here: ${how})`, published];
  if ('outOfReach' in bound) return [[...first, '', '', 'out of reach', bound.outOfReach, '']];
  if (measured.length === 0)
    return [[...first, '', boundText(bound), 'not measured', `atelier run ${experiment.name} ${definition.presets[0]}`, '']];
  return measured.map((row) => [
    ...first,
    numberText(row.measured) + (row.detail ? ` (${row.detail})` : ''),
    boundText(bound),
    row.verdict + (runs > 1 ? ` (${reproduced} of ${runs} runs reproduce it)` : ''),
    `${row.preset}, seed ${row.seed}`,
    `${row.machine}, ${row.date.slice(0, 10)}`,
  ]);
}

const markdownCell = (words: string): string => words.replace(/\|/g, '\\|').replace(/\n/g, ' ');
