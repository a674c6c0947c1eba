import type { Curve } from '../src/runner/experiment.ts';

/** The colour of each method in all charts. */
export const colors = { VAR: 0, MVAR: 1 } as const;

const labels: Readonly<Record<string, string>> = { var: 'VAR', concat: 'MVAR', mixed: 'MVAR 8:1:1' };
const places = ['var', 'concat', 'mixed', 'window-3', 'window-6', 'history-1', 'history-2'];

/**
 * The curve of a training loss. All losses are cross-entropies. In mixed training each is that of one group of scales, so it cannot be compared with
 * that of all scales.
 */
export function curve(series: string): Curve | undefined {
  const [, group, name] = /^(figures|images)-(.+)-\d+$/.exec(series) ?? [];
  if (group === undefined || name === undefined) return undefined;
  const place = places.indexOf(name);
  return {
    method: labels[name] ?? `MVAR, ${name.replace('-', ' of ')}`,
    color: place < 0 ? places.length : place,
    group,
    loss: name === 'mixed' ? 'cross-entropy of the trained scales' : 'cross-entropy',
  };
}
