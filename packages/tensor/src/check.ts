import { unknown } from './nearest.ts';

/**
 * Throws one sentence unless `value` is a finite number in the range. The range includes `min` and `max`, but excludes `above` and `below`.
 */
export function checkNumber(
  where: string,
  value: number,
  range: { integer?: boolean; min?: number; max?: number; above?: number; below?: number } = {},
): void {
  const { integer = false, min = -Infinity, max = Infinity, above = -Infinity, below = Infinity } = range;
  const fits =
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (!integer || Number.isInteger(value)) &&
    value >= min &&
    value <= max &&
    value > above &&
    value < below;
  if (fits) return;
  const bounds = [
    min > -Infinity ? `at least ${min}` : '',
    above > -Infinity ? `above ${above}` : '',
    max < Infinity ? `at most ${max}` : '',
    below < Infinity ? `below ${below}` : '',
  ].filter((text) => text !== '');
  const wanted = `${integer ? 'an integer' : 'a finite number'}${bounds.length > 0 ? ` ${bounds.join(' and ')}` : ''}`;
  throw new Error(`${where}: wanted ${wanted}, got ${String(value)}`);
}

/**
 * Throws one sentence unless `options` is a record with known keys only. In JavaScript, a mistyped option would otherwise be ignored.
 */
export function checkOptions(where: string, options: unknown, known: readonly string[]): void {
  if (options === null || typeof options !== 'object')
    throw new Error(
      `${where}: options: wanted a record of ${known.join(', ')}, got ${options === undefined ? 'nothing' : String(options)}`,
    );
  for (const key of Object.keys(options)) if (!known.includes(key)) throw new Error(`${where}: ${unknown('option', key, known)}`);
}
