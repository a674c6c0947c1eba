import type { PartialConfig } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

export const presets = {
  /** A few seconds. */
  smoke: { training: { steps: 600 } },
  full: {},
} as const satisfies Record<string, PartialConfig<Config>>;
