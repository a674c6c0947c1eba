import { checkNumber, type Schedule } from '@atelier/nn';
import type { MvarConfig } from './config.ts';

export type MvarScheduleOptions = {
  /** `lin0` holds the peak for 5 % of the way and then falls in a straight line, `lin` for 15 %; `cos` falls along half a cosine from the start. */
  kind?: 'lin0' | 'lin' | 'cos';
  /** Highest rate: 1e-4 · batch/256 in the released commands. */
  peak: number;
  warmUpSteps: number;
  totalSteps: number;
  /** Rate of the first step over the peak; 0.005 if not given. */
  start?: number;
  /** Rate of the last step over the peak; 0.1 if not given. */
  end?: number;
};

const HELD = { lin0: 0.05, lin: 0.15 } as const;

/** The learning rate of every step (`lr_wd_annealing`): up in a straight line, then down as `kind` says. */
export function mvarSchedule({ kind = 'lin0', peak, warmUpSteps, totalSteps, start = 0.005, end = 0.1 }: MvarScheduleOptions): Schedule {
  const where = 'mvarSchedule';
  if (!['lin0', 'lin', 'cos'].includes(kind)) throw new Error(`${where}: kind: wanted lin0, lin or cos, got '${String(kind)}'`);
  checkNumber(`${where}: peak`, peak, { min: 0 });
  checkNumber(`${where}: warmUpSteps`, warmUpSteps, { integer: true, min: 0 });
  checkNumber(`${where}: totalSteps`, totalSteps, { integer: true, min: warmUpSteps + 2 });
  checkNumber(`${where}: start`, start, { min: 0, max: 1 });
  checkNumber(`${where}: end`, end, { min: 0, max: 1 });
  return (step) => {
    if (step < warmUpSteps) return peak * (start + ((1 - start) * step) / warmUpSteps);
    const passed = Math.min(1, (step - warmUpSteps) / (totalSteps - 1 - warmUpSteps));
    if (kind === 'cos') return peak * (end + (1 - end) * (0.5 + 0.5 * Math.cos(Math.PI * passed)));
    const held = HELD[kind];
    return peak * (passed < held ? 1 : end + ((1 - end) * (1 - passed)) / (1 - held));
  };
}

/** Weight decay from `first` to `last` along half a cosine. */
export function weightDecaySchedule(first: number, last: number, totalSteps: number): Schedule {
  for (const [name, value] of Object.entries({ first, last })) checkNumber(`weightDecaySchedule: ${name}`, value, { min: 0 });
  checkNumber('weightDecaySchedule: totalSteps', totalSteps, { integer: true, min: 2 });
  return (step) => last + (first - last) * (0.5 + 0.5 * Math.cos((Math.PI * step) / (totalSteps - 1)));
}

/**
 * Which of `trainingGroups` the iteration with this number, counted over all epochs, trains in mixed mode: `ratio` (ρ, 8 in the paper's 8:1:1) times the
 * packed scales, then each scale with windows once.
 *
 * The official formula repeats scales and never reaches the last ones where 1 < ρ < K - refineStep (trainer.py:375); here every one has its turn.
 */
export function groupOfIteration(
  iteration: number,
  { ladder, refineStep }: Pick<MvarConfig, 'ladder' | 'refineStep'>,
  ratio: number,
): number {
  checkNumber('groupOfIteration: iteration', iteration, { integer: true, min: 0 });
  checkNumber('groupOfIteration: ratio', ratio, { integer: true, min: 1 });
  const place = iteration % (ratio + ladder.length - refineStep);
  return place < ratio ? 0 : 1 + place - ratio;
}
