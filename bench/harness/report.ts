import { ratioOf, type Times } from './contest.ts';

/** One line of the report. If `ratio` is above 1, Atelier is better. `bound` is the wanted ratio, or 0 if there is none. */
export type Row = { name: string; peer: string; ratio: number; bound: number };
/** A row with details that only people read. */
export type ReportRow = Row & { ours: string; theirs: string; low?: number; high?: number; note?: string };

/** The row of a task that both sides have timed. */
export function speedRow(name: string, sides: { ours: Times; theirs: Times }, bound: number, note = ''): ReportRow {
  const { ours, theirs } = sides;
  return { name, peer: theirs.name, ...ratioOf(ours, theirs), bound, ours: ms(ours.median), theirs: ms(theirs.median), note };
}

/** Milliseconds with three digits, for example 0.412 ms, 23.1 ms, 604 ms. */
export function ms(value: number): string {
  return `${value < 1 ? value.toFixed(3) : value < 100 ? value.toFixed(value < 10 ? 2 : 1) : value.toFixed(0)} ms`;
}

/** The table for people: one line per row, with aligned columns. */
export function table(rows: readonly ReportRow[]): string {
  const cells = rows.map((row) => [
    row.name,
    row.ours,
    row.theirs,
    row.peer,
    row.ratio.toFixed(2),
    row.low === undefined ? '' : `${row.low.toFixed(2)} … ${row.high!.toFixed(2)}`,
    row.bound > 0 ? `>= ${row.bound}` : '',
    row.bound === 0 ? '' : row.ratio >= row.bound ? 'reached' : 'MISSED',
    row.note ?? '',
  ]);
  const head = ['work', 'ours', 'peer', 'which', 'ratio', 'pairs', 'bound', '', ''];
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map((row) => [...row[i]!].length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => cell + ' '.repeat(widths[i]! - [...cell].length))
      .join('  ')
      .trimEnd();
  return [line(head), ...cells.map(line)].join('\n');
}

/** Prints the table and, if `json` is true, the rows as one JSON array on the last line. */
export function report(rows: readonly ReportRow[], json: boolean): void {
  if (rows.length > 0) console.log(`\n${table(rows)}`);
  if (json)
    console.log(JSON.stringify(rows.map(({ name, peer, ratio, bound }) => ({ name, peer, ratio: Number(ratio.toFixed(4)), bound }))));
}
