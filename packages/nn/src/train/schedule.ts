import { checkNumber } from '@atelier/tensor';

/**
 * A number for each step, computed on the host. `step` counts the updates already done, so the first update asks for step 0. The number
 * enters a compiled step as a scalar tensor.
 */
export type Schedule = (step: number) => number;

/** The same value at every step. */
export function constant(value: number): Schedule {
  checkNumber('constant: value', value);
  return () => value;
}

/** From `peak` down to `floor` along half a cosine over `steps` updates, `floor` afterwards. */
export function cosine(peak: number, steps: number, floor = 0): Schedule {
  checkDecay('cosine', peak, steps, floor);
  return (step) => floor + ((peak - floor) * (1 + Math.cos(Math.PI * Math.min(step / steps, 1)))) / 2;
}

/** From `peak` down to `floor` in a straight line over `steps` updates, `floor` afterwards. */
export function linearDecay(peak: number, steps: number, floor = 0): Schedule {
  checkDecay('linearDecay', peak, steps, floor);
  return (step) => floor + (peak - floor) * (1 - Math.min(step / steps, 1));
}

/** A straight line from `start` at step 0 to what `then` begins with, reached after `steps` updates; from there on `then`, counted from 0. */
export function warmUp(steps: number, then: Schedule, start = 0): Schedule {
  checkNumber('warmUp: steps', steps, { integer: true, min: 0 });
  checkNumber('warmUp: start', start);
  return (step) => (step < steps ? start + (then(0) - start) * (step / steps) : then(step - steps));
}

/** EMA decay min(decay, (i + 1) / (i + 10)), i = step: a short memory at first, so that a short run is not held at its start. */
export function emaWarmUp(decay: number): Schedule {
  checkNumber('emaWarmUp: decay', decay, { min: 0, max: 1 });
  return (step) => Math.min(decay, (step + 1) / (step + 10));
}

/** EMA decay decay^period at every period-th update and 1 (no change) between (Gsunshine/py-meanflow models/ema.py:13, period 16). */
export function emaEvery(decay: number, period: number): Schedule {
  checkNumber('emaEvery: decay', decay, { min: 0, max: 1 });
  checkNumber('emaEvery: period', period, { integer: true, min: 1 });
  return (step) => ((step + 1) % period === 0 ? decay ** period : 1);
}

function checkDecay(where: string, peak: number, steps: number, floor: number): void {
  checkNumber(`${where}: peak`, peak);
  checkNumber(`${where}: steps`, steps, { integer: true, min: 1 });
  checkNumber(`${where}: floor`, floor);
}
