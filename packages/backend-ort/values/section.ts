import { table } from '../conformance/report.ts';
import type { Row } from './table.ts';

/** The section of CONFORMANCE.md that the value audit writes. */

const HEADING = '## Errors in units in the last place';

/** Where the section begins and ends. */
function placeOf(text: string): [number, number] {
  const start = text.indexOf(`${HEADING}\n`);
  if (start < 0) throw new Error(`CONFORMANCE.md: wanted the heading "${HEADING}", got none`);
  const end = text.indexOf('\n## ', start);
  return [start, end < 0 ? text.length : end + 1];
}

export const errorsIn = (text: string): string => text.slice(...placeOf(text));

/** The text with a new section. */
export function withErrors(text: string, rows: readonly Row[], count: number, processor: string): string {
  const [start, end] = placeOf(text);
  const section = `${HEADING}

Written by \`pnpm --filter @atelier/backend-ort values\`: each float kernel against float64 on the host, evaluated and compiled, on ${processor}. Other processors
have other vector instructions, and may give other errors. Functions of elements get ${count.toLocaleString('en')} inputs: special numbers (±0, ±∞, NaN, the smallest, the largest, ties, and
their neighbours), random bits, numbers to ±20 and near ±1. Their error is in ulp of the right result, where nothing else is said. An error of at most 0.5 is that of a correctly rounded
result. For sums, the unit is one ulp of the sum of the absolute values of the terms; all terms are positive where possible, because then errors add up.
\`test/values.test.ts\` holds the bounds with fewer inputs, and asserts that every kernel that rounds is in the table.

${table(['kernel', 'what', 'bound', 'largest error', 'remark'], rows as Row[])}

`;
  return text.slice(0, start) + section + text.slice(end);
}
