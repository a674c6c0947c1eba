import { boundText, judge, verdictSchema, verdictSign, type ClaimRecord, type Verdict } from './claims.ts';
import { markdownText } from './markdown-text.ts';
import { numberText } from './number-text.ts';
import type { LedgerPart, LedgerRow } from './ledger.ts';
import { page } from './page.ts';
import { escapeXml as escape } from '../pictures/style.ts';
import { verdictMark } from './report-html.ts';

const COLUMNS = ['claim', 'published', 'here (bound)', 'verdict'];
const RUN_COLUMNS = ['preset', 'seed', 'value', 'made of', 'verdict', 'machine', 'date', 'code', 'run'];

const INTRODUCTION = [
  'Each row is a claim of a paper, with its published value and what was measured here. Sizes and data are smaller here than in the papers. So a row tests whether the claim holds within its bound, and not whether the published number is reached.',
  'The bound of a claim is part of the code, and was fixed before the claim was measured, unless the details say otherwise. ✓ reproduced: the bound holds. ~ direction only: the published direction holds, but not the bound. ✗ not reproduced. – out of reach of this machine. · not measured yet.',
  'The number is that of the largest preset that measured the claim: the mean over its seeds, ± their standard deviation. A preset with another verdict is named beside it. This page is generated from the records of the runs.',
];

const table = (columns: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  `| ${columns.join(' | ')} |`,
  `|${'---|'.repeat(columns.length)}`,
  ...rows.map((cells) => `| ${cells.join(' | ')} |`),
];

/** The ledger in Markdown: one row a claim, which links to its section in `results/<experiment>.md`. */
export function ledgerMarkdown(parts: readonly LedgerPart[]): string {
  const row = (one: LedgerRow, name: string): string[] => {
    const { claim, id, published } = one.definition;
    return [`[${markdownText(claim)}](results/${name}.md#${id})`, ...[published, hereText(one), verdictText(one)].map(markdownText)];
  };
  return [
    '# Results',
    '',
    ...parts.map((part) => `- [${part.experiment.name}](#${part.experiment.name}): ${summary(part)}`),
    '',
    ...INTRODUCTION,
    ...parts.flatMap(({ experiment: { name, paper }, rows }) => [
      '',
      `## ${name}`,
      '',
      `${markdownText(paper.title)} · [arXiv ${markdownText(paper.arxiv)}](https://arxiv.org/abs/${encodeURIComponent(paper.arxiv)}) · [how each claim was measured](results/${name}.md)`,
      '',
      ...table(
        COLUMNS,
        rows.map((one) => row(one, name)),
      ),
    ]),
    '',
  ].join('\n');
}

/** Everything about the claims of one paper in Markdown: a section a claim, with the values of every run. */
export function detailsMarkdown({ experiment: { name, paper }, rows }: LedgerPart): string {
  const section = (row: LedgerRow): string[] => [
    '',
    // The id as the heading, so that the link from the ledger finds it.
    `## ${row.definition.id}`,
    '',
    `**${markdownText(row.definition.claim)}** ${verdictText(row)}`,
    '',
    ...facts(row, name).map(([label, words]) => `- ${label}: ${markdownText(words)}`),
    ...(row.measurements.length === 0
      ? []
      : [
          '',
          ...table(
            RUN_COLUMNS,
            runsOf(row).map((cells) => cells.map(markdownText)),
          ),
        ]),
  ];
  return [
    `# Results of ${name}: how each claim was measured`,
    '',
    `${markdownText(paper.title)} · [arXiv ${markdownText(paper.arxiv)}](https://arxiv.org/abs/${encodeURIComponent(paper.arxiv)}) · [all results](../results.md)`,
    ...rows.flatMap(section),
    '',
  ].join('\n');
}

/** The ledger as one page; what the Markdown has in files of its own is folded under each row. */
export function ledgerHtml(parts: readonly LedgerPart[]): string {
  // Narrow screens show a row as a list, each cell with the name of its column.
  const cells = (words: readonly string[], columns: readonly string[]): string =>
    words.map((one, i) => `<td data-column="${escape(columns[i]!)}">${one}</td>`).join('');
  const grid = (columns: readonly string[], rows: readonly string[]): string =>
    `<table class="stack"><thead><tr>${columns.map((one) => `<th>${escape(one)}</th>`).join('')}</tr></thead><tbody>${rows.join('')}</tbody></table>`;
  const details = (row: LedgerRow, name: string): string => {
    const list = facts(row, name).map(([label, words]) => `<li>${escape(label)}: ${escape(words)}</li>`);
    const runs = runsOf(row).map((one) => `<tr>${cells(one.map(escape), RUN_COLUMNS)}</tr>`);
    return `<details><summary>how</summary><ul>${list.join('')}</ul>${runs.length === 0 ? '' : `<div class="wide">${grid(RUN_COLUMNS, runs)}</div>`}</details>`;
  };
  const line = (row: LedgerRow, name: string): string => {
    const { claim, id, published } = row.definition;
    const words = [`${escape(claim)}${details(row, name)}`, escape(published), escape(hereText(row))];
    return `<tr id="${name}-${id}">${cells([...words, verdictMark(row.verdict) + escape(remark(row))], COLUMNS)}</tr>`;
  };
  const sections = parts.map(
    ({ experiment: { name, paper }, rows }) =>
      `<section id="${name}"><h2>${escape(paper.title)} · arXiv ${escape(paper.arxiv)}</h2><div class="wide">${grid(
        COLUMNS,
        rows.map((row) => line(row, name)),
      )}</div></section>`,
  );
  const summaries = parts.map(
    (part) => `<li><a href="#${part.experiment.name}">${part.experiment.name}</a>: ${escape(summary(part))}</li>`,
  );
  const introduction = INTRODUCTION.map((words) => `<p>${escape(words)}</p>`).join('');
  return page('Results', `<header><h1>Results</h1><ul>${summaries.join('')}</ul>${introduction}</header>${sections.join('')}`);
}

/** `14 of 15 testable claims reproduced, 1 direction only; 8 out of reach` */
function summary({ rows }: LedgerPart): string {
  const count = Object.fromEntries(
    verdictSchema.options.map((verdict) => [verdict, rows.filter((row) => row.verdict === verdict).length]),
  ) as Record<Verdict, number>;
  const others = (['direction only', 'not reproduced', 'not measured'] as const).flatMap((verdict) =>
    count[verdict] === 0 ? [] : [`${count[verdict]} ${verdict}`],
  );
  const first = [`${count.reproduced} of ${rows.length - count['out of reach']} testable claims reproduced`, ...others].join(', ');
  return count['out of reach'] === 0 ? first : `${first}; ${count['out of reach']} out of reach`;
}

/** The number with its spread and bound; nothing where the claim is out of reach, which the details explain. */
function hereText({ definition: { bound }, decides }: LedgerRow): string {
  if ('outOfReach' in bound) return '';
  return decides === undefined ? `(${boundText(bound)})` : `${meanText(decides)} (${boundText(bound)})`;
}

const meanText = ({ mean, spread }: { mean: number; spread?: number }): string =>
  spread === undefined ? numberText(mean) : `${numberText(mean)} ± ${numberText(Number(spread.toPrecision(2)))}`;

const verdictText = (row: LedgerRow): string => `${verdictSign[row.verdict]} ${row.verdict}${remark(row)}`;

/** In how many seeds the bound holds, if not in all; and presets with another verdict. */
function remark({ decides, measurements, verdict }: LedgerRow): string {
  if (decides === undefined) return '';
  const [all, within] = [decides.seeds.length, decides.within];
  const some = all > 1 && within > 0 && within < all ? [`in ${within} of ${all} seeds`] : [];
  const others = measurements.filter((one) => one.verdict !== verdict).map((one) => `${one.preset} ${verdictSign[one.verdict]}`);
  const words = [...some, ...others];
  return words.length === 0 ? '' : ` (${words.join(', ')})`;
}

/** What stands above the values of the runs, as label and text. */
function facts({ definition, how, decides, measurements }: LedgerRow, name: string): [label: string, words: string][] {
  const { where, published, bound, presets } = definition;
  const paper: [string, string][] = [
    ['In the paper', where],
    ['Published', published],
  ];
  if ('outOfReach' in bound) return [...paper, ['Out of reach', bound.outOfReach]];
  const others = measurements.filter((one) => one !== decides).map((one) => [one.preset, one.seeds.at(-1)!.how] as const);
  return [
    ...paper,
    ['Measured here', how],
    ...others.filter(([, words]) => words !== how).map(([preset, words]): [string, string] => [`With the preset ${preset}`, words]),
    ['Bound', boundText(bound)],
    ['Measure it', `atelier run ${name} ${decides?.preset ?? presets[0]}`],
  ];
}

/** The values of every run of an unchanged preset: presets and seeds in order, then the runs that no longer decide. */
function runsOf({ definition, measurements }: LedgerRow): string[][] {
  const line = (record: ClaimRecord, older: boolean): string[] => {
    const verdict = judge(definition, record.measured);
    return [
      record.preset,
      `${record.seed}${older ? ' (older)' : ''}`,
      numberText(record.measured),
      record.detail ?? '',
      `${verdictSign[verdict]} ${verdict}`,
      record.machine,
      record.date.slice(0, 10),
      record.commit,
      record.run,
    ];
  };
  return measurements.flatMap(({ seeds, older }) => [
    ...seeds.map((record) => line(record, false)),
    ...older.map((record) => line(record, true)),
  ]);
}
