/**
 * Breaks a line at blanks so that it fits into `columns`; the lines after the first begin with `indent` blanks. A word that is too long stays whole. Blanks at
 * the beginning, and several blanks in a row, are kept.
 */
export function wrap(line: string, columns: number, indent: number): string[] {
  const lines: string[] = [];
  let rest = line;
  while (rest.length > columns) {
    // The last blank that fits, but not one of the blanks at the beginning.
    const start = rest.length - rest.trimStart().length;
    let at = rest.lastIndexOf(' ', columns);
    if (at <= start) at = rest.indexOf(' ', Math.max(start, columns));
    if (at < 0) break;
    lines.push(rest.slice(0, at).trimEnd());
    rest = ' '.repeat(indent) + rest.slice(at).trimStart();
  }
  return [...lines, rest];
}
