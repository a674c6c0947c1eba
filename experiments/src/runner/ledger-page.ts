import { numberText } from './claims.ts';
import type { LedgerPart, LedgerRow } from './ledger.ts';
import { page } from './page.ts';
import { escapeXml as escape } from '../pictures/style.ts';
import { verdictMark } from './report-html.ts';

const COLUMNS = ['claim', 'published', 'measured here', 'bound', 'verdict', 'preset, seed', 'machine, date'];

const INTRODUCTION = [
  'Each row is a claim of a paper, with its published value and what was measured here. This page is generated from the records of the runs.',
  'The bound of a claim is part of the code, and was chosen before anything was measured. Sizes and data are smaller here than in the papers.',
  'So a row tests whether the claim holds within its bound, and not whether the published number is reached.',
];

/** The ledger in Markdown. */
export function ledgerMarkdown(parts: readonly LedgerPart[]): string {
  const cell = (words: string): string => words.replace(/\|/g, '\\|').replace(/\n/g, ' ');
  const line = (row: LedgerRow, command: string): string => {
    const { claim, verdict, tally, ...rest } = cellsOf(row, command);
    const cells = [claim, rest.published, rest.measured, rest.bound, verdict + tally, rest.by, rest.machine];
    return `| ${cells.map(cell).join(' | ')} |`;
  };
  const tables = parts.flatMap(({ experiment: { name, paper }, rows }) => [
    `## ${paper.title}`,
    '',
    `\`${name}\` · [arXiv ${paper.arxiv}](https://arxiv.org/abs/${paper.arxiv})`,
    '',
    `| ${COLUMNS.join(' | ')} |`,
    `|${'---|'.repeat(COLUMNS.length)}`,
    ...rows.map((row) => line(row, name)),
    '',
  ]);
  return ['# Results', '', ...INTRODUCTION, '', ...tables].join('\n');
}

/** The same as one page. */
export function ledgerHtml(parts: readonly LedgerPart[]): string {
  const line = (row: LedgerRow, command: string): string => {
    const { claim, verdict, tally, ...rest } = cellsOf(row, command);
    const marked = `${verdictMark(verdict)}${escape(tally)}`;
    const cells = [
      escape(claim),
      ...[rest.published, rest.measured, rest.bound].map(escape),
      marked,
      ...[rest.by, rest.machine].map(escape),
    ];
    return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
  };
  const head = COLUMNS.map((word) => `<th>${word}</th>`).join('');
  const tables = parts.map(
    ({ experiment: { name, paper }, rows }) =>
      `<section><h2>${escape(paper.title)} · arXiv ${escape(paper.arxiv)}</h2><table><thead><tr>${head}</tr></thead><tbody>${rows.map((row) => line(row, name)).join('')}</tbody></table></section>`,
  );
  return page('Results', `<header><h1>Results</h1><p>${INTRODUCTION.map(escape).join(' ')}</p></header>${tables.join('')}`);
}

/** A row in words. If the claim could not be measured, it says why instead of naming the preset. */
function cellsOf({ definition, how, bound, verdict, record, computations, reproduced }: LedgerRow, name: string) {
  const { claim, where, published, presets } = definition;
  const first = { claim: `${claim} (${where}; here: ${how})`, published, verdict };
  if (record === undefined) {
    const outOfReach = 'outOfReach' in definition.bound;
    const by = outOfReach ? definition.bound.outOfReach : `atelier run ${name} ${presets[0]}`;
    return { ...first, measured: '', bound: outOfReach ? '' : bound, tally: '', by, machine: '' };
  }
  return {
    ...first,
    measured: numberText(record.measured) + (record.detail ? ` (${record.detail})` : ''),
    bound,
    tally: computations > 1 ? ` (${reproduced} of ${computations} runs reproduce it)` : '',
    by: `${record.preset}, seed ${record.seed}`,
    machine: `${record.machine}, ${record.date.slice(0, 10)}`,
  };
}
