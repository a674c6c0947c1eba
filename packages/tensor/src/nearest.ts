import { shown } from './shown.ts';

/** Number of insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(replace, rows[i - 1]![j]! + 1, row[j - 1]! + 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

/**
 * The candidate that is most similar to `word`. It is compared with the whole dotted path and with the last part of the path (`width` of
 * `model.width`). Undefined if there are no candidates.
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const distance = (candidate: string): number =>
    Math.min(editDistance(word, candidate), editDistance(word, candidate.split('.').at(-1)!) + 0.5);
  let best: string | undefined;
  for (const candidate of candidates) if (best === undefined || distance(candidate) < distance(best)) best = candidate;
  return best;
}

/** Characters of a word that are compared: the work grows with their number. */
const LONGEST = 200;

/** For example: `unknown preset 'ful': the nearest is 'full' (there are smoke, full, paper)` */
export function unknown(kind: string, word: string, candidates: readonly string[]): string {
  const best = nearest(word.slice(0, LONGEST), candidates);
  if (best === undefined) return `unknown ${kind} ${shown(word)}: there is none`;
  const all = candidates.length > 12 ? `${candidates.slice(0, 12).join(', ')}, …` : candidates.join(', ');
  return `unknown ${kind} ${shown(word)}: the nearest is '${best}' (there are ${all})`;
}
