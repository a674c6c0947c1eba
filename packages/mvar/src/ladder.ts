import { checkNumber } from '@atelier/tensor';

/** One scale of a ladder: `side` × `side` tokens, row by row. The first of them has the position `offset` in the sequence of all scales. */
export type Scale = { index: number; side: number; tokens: number; offset: number };

/** The published ladders, by the side of the image in pixels. The last map has a side of 1/16 of it. */
export const ladders = {
  128: [1, 3, 4, 5, 6, 7, 8],
  256: [1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
  512: [1, 2, 3, 4, 6, 9, 13, 18, 24, 32],
  1024: [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64],
} as const;

/** The scales of a ladder of sides p_0 < … < p_{K-1}. @throws Error unless it starts at 1 and increases */
export function scalesOf(ladder: readonly number[], where = 'scalesOf'): Scale[] {
  const fault = ladderFault(ladder);
  if (fault !== null) throw new Error(`${where}: ladder: ${fault}`);
  let offset = 0;
  return ladder.map((side, index) => {
    const scale = { index, side, tokens: side * side, offset };
    offset += scale.tokens;
    return scale;
  });
}

/** N, the tokens of all scales. */
export function tokenCount(ladder: readonly number[]): number {
  return ladder.reduce((sum, side) => sum + side * side, 0);
}

/** Number of tokens of some scales together. */
export const tokensOf = (scales: readonly Scale[]): number => scales.reduce((sum, { tokens }) => sum + tokens, 0);

/** What is wrong with a ladder, as the end of an error message, or null. */
export function ladderFault(ladder: readonly number[]): string | null {
  const wanted = 'wanted whole numbers that start at 1 and increase, at least two,';
  if (!Array.isArray(ladder) || ladder.length < 2) return `${wanted} got [${String(ladder)}]`;
  const fits = ladder[0] === 1 && ladder.every((side, l) => Number.isInteger(side) && (l === 0 || side > ladder[l - 1]!));
  return fits ? null : `${wanted} got [${ladder.join(', ')}]`;
}

/** A range of scales [first, end) that one pass works on. */
export type ScaleRange = { first: number; end: number };

/** @throws Error unless the range has a scale and lies within the ladder */
export function checkRange({ first, end }: ScaleRange, scales: number, where: string): void {
  checkNumber(`${where}: first`, first, { integer: true, min: 0, max: scales - 1 });
  checkNumber(`${where}: end`, end, { integer: true, min: first + 1, max: scales });
}
