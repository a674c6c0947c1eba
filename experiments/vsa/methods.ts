import type { Curve } from '../src/runner/experiment.ts';

/** The networks by the names of their stages, with their colours in all charts. */
export const methods: Readonly<Record<string, { method: string; color: number }>> = {
  full: { method: 'full attention', color: 0 },
  vsa: { method: 'sparse attention', color: 1 },
  fine: { method: 'fine stage only', color: 2 },
  local: { method: 'local tiles', color: 3 },
  random: { method: 'random tiles', color: 4 },
  annealed: { method: 'from full to sparse, step by step', color: 5 },
  direct: { method: 'from full to sparse at once', color: 6 },
  continued: { method: 'full, trained longer', color: 7 },
};

/** All networks of a part have the same loss: the squared error of the velocity. */
export function curve(series: string): Curve | undefined {
  const name = series.replace(/^glyphs-/, '');
  const found = methods[name];
  return found && { ...found, group: name === series ? 'patch videos' : 'moving letters' };
}
