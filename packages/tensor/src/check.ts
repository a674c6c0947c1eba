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
