import { checkNumber } from '@atelier/tensor';

/** A segment of the tokens first … end - 1: its tokens are the inputs of the evaluations that solve the tokens first + 1 … last. */
export type SegmentRange = { first: number; end: number; last: number };

/** Sizes of `count` segments of T tokens as equal as they can be: they differ by one at most, the longer ones first. */
export function equalSegments(tokens: number, count: number): number[] {
  checkNumber('equalSegments: tokens', tokens, { integer: true, min: 1 });
  checkNumber('equalSegments: count', count, { integer: true, min: 1, max: tokens });
  const short = Math.floor(tokens / count);
  const longer = tokens % count;
  return Array.from({ length: count }, (_, g) => short + (g < longer ? 1 : 0));
}

/** Sizes of segments by where each ends, the last at T: [4, 8, 16] -> [4, 4, 8]. */
export function segmentsFromEnds(ends: readonly number[]): number[] {
  return ends.map((end, g) => end - (ends[g - 1] ?? 0));
}

/**
 * The segments of T tokens by their number (equal ones, a remainder spread over the first) or by their sizes. The unknowns of a segment
 * are the tokens after each of its own; after the last token of all there is none, so the last segment has one unknown fewer.
 *
 * @throws Error unless the sizes are whole numbers of at least 1 that tile the T tokens
 */
export function segmentRanges(tokens: number, segments: number | readonly number[], where = 'segmentRanges'): SegmentRange[] {
  if (typeof segments === 'number') checkNumber(`${where}: segments`, segments, { integer: true, min: 1, max: tokens });
  const sizes = typeof segments === 'number' ? equalSegments(tokens, segments) : segments;
  if (!Array.isArray(sizes)) throw new Error(`${where}: segments: wanted a number or a list of sizes, got ${typeof segments}`);
  const total = sizes.reduce((sum: number, size: number) => sum + size, 0);
  if (sizes.length === 0 || !sizes.every((size) => Number.isInteger(size) && size >= 1) || total !== tokens)
    throw new Error(`${where}: segments: wanted sizes of at least 1 that add up to ${tokens} tokens, got [${sizes.join(', ')}]`);
  let first = 0;
  return sizes.map((size) => {
    const end = first + size;
    const range = { first, end, last: Math.min(end, tokens - 1) };
    first = end;
    return range;
  });
}
