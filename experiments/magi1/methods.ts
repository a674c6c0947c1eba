import type { Curve } from '../src/runner/experiment.ts';

/** On the strip, both kinds of training have the same loss; distillation has another one. */
export function curve(series: string): Curve | undefined {
  const [, kind] = /^strip-(window|detached|distilled)(?:-\d+)?$/.exec(series) ?? [];
  if (kind === 'window') return { method: 'as in sampling', color: 0, group: 'strip', loss: 'error of the velocity' };
  if (kind === 'detached') return { method: 'clean chunks without gradient', color: 1, group: 'strip', loss: 'error of the velocity' };
  return kind === 'distilled' ? { method: 'distilled', color: 2, group: 'strip', loss: 'loss of the distillation' } : undefined;
}
