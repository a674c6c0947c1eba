import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointFolder, experiments, type RunContext } from '@atelier/experiments';
import { Rng } from '@atelier/tensor';
import type { RepeatedWork } from '../../harness/laps.ts';

/** Ends an experiment after the last step that is counted. */
class Ended extends Error {}

/** A training stage of an experiment, by the name of its checkpoint, and the configuration in which it has so many steps. */
export interface Stage {
  readonly experiment: string;
  readonly stage: string;
  config(steps: number): object;
}

/**
 * The training steps of an experiment: its own networks, losses, data, optimizers, averages, compiled steps, and pictures on the way. A checkpoint is
 * written every second. Everything before this stage is done too. After its last step the experiment is stopped.
 */
export const stage = ({ experiment: name, stage: wanted, config }: Stage): RepeatedWork => ({
  unit: 'steps',
  total: 10_000,
  async run(total, done) {
    const { schema, run } = experiments.find((one) => one.name === name)!;
    const folder = mkdtempSync(join(tmpdir(), 'atelier-memory-'));
    try {
      await run(contextOf(schema.parse({ ...config(total), checkpointSeconds: 1 }), folder, wanted, total, done));
    } catch (error) {
      if (!(error instanceof Ended)) throw error;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
});

function contextOf(config: RunContext['config'], folder: string, wanted: string, total: number, done: () => void): RunContext {
  let current = '';
  return {
    config,
    preset: 'memory',
    rng: new Rng(config.seed),
    folder,
    signal: new AbortController().signal,
    checkpoints: new CheckpointFolder(join(folder, 'checkpoints')),
    progress: {
      start: (label) => void (current = label),
      update(step) {
        if (current !== wanted) return;
        done();
        if (step === total) throw new Ended();
      },
      stop: () => {},
    },
    log: () => {},
    lines: () => [{ ms: 0 }],
    rewind: async () => {},
    samples: async () => {},
    figure: async () => {},
    claim: async () => {},
    measures: () => false,
    stage: async (_name, work) => work(),
    note: () => {},
  };
}
