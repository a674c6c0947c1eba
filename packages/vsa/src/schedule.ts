import { checkNumber } from '@atelier/tensor';

export type SparsitySchedule = {
  /** S, the sparsity at the end. */
  sparsity: number;
  /** Rise with each jump. */
  rate: number;
  /** Steps between two jumps. */
  interval: number;
};

/** The sparsity at a step, counted from 1: min(S, r·⌊step/interval⌋). It ends at exactly S. */
export function sparsityAt(step: number, { sparsity, rate, interval }: SparsitySchedule): number {
  checkSchedule('sparsityAt', step, { sparsity, rate, interval });
  return Math.min(sparsity, rate * Math.floor(step / interval));
}

/**
 * The schedule of the official code: min(⌊step/interval⌋, S ⫽ r)·r, where ⫽ is the floor division of two rounded numbers. It can stop before S: 0.9 ⫽ 0.1
 * is 8, so with S = 0.9 and r = 0.1 the sparsity ends at 0.8.
 *
 * @param mode in `distill`, an interval of at most 1 means S from the start
 */
export function officialSparsityAt(step: number, schedule: SparsitySchedule, mode: 'finetune' | 'distill' = 'finetune'): number {
  checkSchedule('officialSparsityAt', step, schedule);
  const { sparsity, rate, interval } = schedule;
  if (mode !== 'finetune' && mode !== 'distill')
    throw new Error(`officialSparsityAt: mode: wanted 'finetune' or 'distill', got '${String(mode)}'`);
  if (mode === 'distill' && interval <= 1) return sparsity;
  return Math.min(Math.floor(step / interval), floorDivide(sparsity, rate)) * rate;
}

/** Python's `a // b` of floats: the quotient of what the remainder leaves, so that rounding of a/b cannot lift it over a whole number. */
function floorDivide(a: number, b: number): number {
  const exact = (a - (a % b)) / b;
  const floor = Math.floor(exact);
  return exact - floor > 0.5 ? floor + 1 : floor;
}

/** Number of selected tiles at a step of a retrofit, counted from 0: from `from` down to `to`, by `by` every `every` steps (Sec. 3.3 of the paper). */
export function annealedKeep(step: number, { from, to, by, every }: { from: number; to: number; by: number; every: number }): number {
  checkNumber('annealedKeep: step', step, { integer: true, min: 0 });
  for (const [name, value] of Object.entries({ from, to, by, every }))
    checkNumber(`annealedKeep: ${name}`, value, { integer: true, min: 1 });
  if (to > from) throw new Error(`annealedKeep: wanted to <= from, got from ${from} to ${to}`);
  return Math.max(to, from - by * Math.floor(step / every));
}

function checkSchedule(where: string, step: number, { sparsity, rate, interval }: SparsitySchedule): void {
  checkNumber(`${where}: step`, step, { integer: true, min: 0 });
  checkNumber(`${where}: sparsity`, sparsity, { min: 0, max: 1 });
  checkNumber(`${where}: rate`, rate, { above: 0, max: 1 });
  checkNumber(`${where}: interval`, interval, { integer: true, min: 1 });
}
