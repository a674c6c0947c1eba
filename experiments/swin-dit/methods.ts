import type { Curve } from '../src/runner/experiment.ts';
import type { ModelName } from './config.ts';

/** For legends and tables. */
export const modelLabels: Record<ModelName, string> = {
  dit: 'DiT',
  window: 'only windows',
  swin: 'Swin, shifted windows',
  pswa: 'PSWA',
  uniform: 'PSWA, uniform',
  reversed: 'PSWA, reversed',
  bridge: 'only bridges',
};

/** The colour of a model in all charts. */
export const colorOf = (name: ModelName): number => Object.keys(modelLabels).indexOf(name);

/** All models of a part have the same loss: the squared error of the noise. */
export function curve(series: string): Curve | undefined {
  const [, part, name] = /^(field|image)-([a-z]+)(?:-\d+)?$/.exec(series) ?? [];
  if (name === undefined || !(name in modelLabels)) return undefined;
  const model = name as ModelName;
  return { method: modelLabels[model], color: colorOf(model), group: part === 'field' ? 'fields' : 'images' };
}
