import { checkNumber } from '@atelier/tensor';
import { type Schedule } from '@atelier/nn';

export type TarFlowScheduleOptions = {
  /** Steps of the first epoch. */
  warmUpSteps: number;
  totalSteps: number;
  /** Rate at the first step and at the last. */
  min?: number;
  max?: number;
};

/**
 * The learning rate of the official code at each optimizer step, counted from 0: a line from `min` (1e-6) to `max` (1e-4) over the warm-up, then
 * half a cosine back to `min` at `totalSteps`.
 *
 * As there, the very first step takes place at `min`, and past `totalSteps` the cosine goes on: the rate rises again
 * (apple/ml-tarflow utils.py:47).
 */
export function tarflowSchedule({ warmUpSteps, totalSteps, min = 1e-6, max = 1e-4 }: TarFlowScheduleOptions): Schedule {
  checkNumber('tarflowSchedule: warmUpSteps', warmUpSteps, { integer: true, min: 0 });
  checkNumber('tarflowSchedule: totalSteps', totalSteps, { integer: true, above: warmUpSteps });
  checkNumber('tarflowSchedule: min', min, { min: 0 });
  checkNumber('tarflowSchedule: max', max, { min });
  return (step) =>
    step < warmUpSteps
      ? min + (step / warmUpSteps) * (max - min)
      : min + ((max - min) * (1 + Math.cos((Math.PI * (step - warmUpSteps)) / (totalSteps - warmUpSteps)))) / 2;
}
