import { checkNumber } from '@atelier/tensor';
import { type Schedule } from '@atelier/nn';
import type { MvarConfig } from './config.ts';

export type MvarScheduleOptions = {
  /**
   * After the warm-up, `lin0` holds the peak for 5 % of the remaining steps, `lin` for 15 %, and then both fall linearly; `cos` falls along half a
   * cosine at once.
   */
  kind?: 'lin0' | 'lin' | 'cos';
  /** Highest learning rate: 1e-4 · batch/256 in the released commands. */
  peak: number;
  warmUpSteps: number;
  totalSteps: number;
  /** Rate of the first step, as a fraction of the peak; 0.005 if not given. */
  start?: number;
  /** Rate of the last step, as a fraction of the peak; 0.1 if not given. */
  end?: number;
};

/** Fraction of the steps after the warm-up in which the peak is held. */
const HELD = { lin0: 0.05, lin: 0.15 } as const;

/** The learning rate of every step, counted from 0 (`lr_wd_annealing` in FoundationVision/VAR): a linear warm-up, then down as `kind` says. */
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
 * The index in `trainingGroups` of the group that an iteration of mixed training trains. Iterations count from 0 over all epochs. A cycle has `ratio`
 * iterations (ρ_k, 8 in the paper's 8:1:1) for the group of scales without windows, then one for each scale with windows.
 *
 * If 1 < ρ_k < K - refineStep, the official formula (trainer.py:375) repeats some scales and never reaches the last ones; here each has its turn.
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
