import { decades } from '../pictures/ticks.ts';

/** From a value to a place between 0 and 1, and the values to write at the axis. */
export interface Axis {
  readonly log: boolean;
  readonly ticks: readonly number[];
  place(value: number): number;
}

/** Largest over smallest value from which an axis of positive values is logarithmic. */
const LOG_FROM = 20;

/** An axis that ends exactly at the first and the last value. */
export function stepAxis(values: readonly number[]): Axis {
  const [low, high] = endsOf(values);
  return {
    log: false,
    ticks: round(low, high, 5).filter((tick) => tick >= low && tick <= high),
    place: (value) => (value - low) / (high - low),
  };
}

/** An axis that ends at round values; logarithmic where all values are positive and far apart. */
export function valueAxis(values: readonly number[]): Axis {
  const [low, high] = endsOf(values);
  if (low > 0 && high / low >= LOG_FROM) {
    const ticks = decades(values);
    const [from, to] = [Math.log10(ticks[0]!), Math.log10(ticks.at(-1)!)];
    return { log: true, ticks, place: (value) => (Math.log10(value) - from) / (to - from) };
  }
  const ticks = round(low, high, 4);
  const [from, to] = [ticks[0]!, ticks.at(-1)!];
  return { log: false, ticks, place: (value) => (value - from) / (to - from) };
}

/** The smallest and the largest value; some room around them if they are equal. */
function endsOf(values: readonly number[]): [number, number] {
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const room = low === high ? Math.abs(low) / 2 || 1 : 0;
  return [low - room, high + room];
}

/** Multiples of 1, 2 or 5 times a power of ten, from just below `low` to just above `high`, about `count` steps. */
function round(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough)!;
  const first = Math.floor(low / step);
  return Array.from({ length: Math.ceil(high / step) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}
