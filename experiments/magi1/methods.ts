import type { Curve } from '../src/runner/experiment.ts';

/** The training curves of the strip. `window` and `detached` have the same loss and can be compared; distillation has another one. */
export function curve(series: string): Curve | undefined {
  const [, kind] = /^strip-(window|detached|distilled)(?:-\d+)?$/.exec(series) ?? [];
  if (kind === 'window') return { method: 'as in sampling', color: 0, group: 'strip', loss: 'error of the velocity' };
  if (kind === 'detached') return { method: 'clean chunks without gradient', color: 1, group: 'strip', loss: 'error of the velocity' };
  return kind === 'distilled' ? { method: 'distilled', color: 2, group: 'strip', loss: 'loss of the distillation' } : undefined;
}
