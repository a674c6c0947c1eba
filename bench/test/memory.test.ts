import { tf, useEngine } from '@atelier/tensor';
import { beforeAll, describe, expect, it } from 'vitest';
import { changedCounts, runLaps, type Lap, type RepeatedWork } from '../harness/laps.ts';
import { repeatedWorks } from '../workloads/memory/index.ts';

beforeAll(async () => void (await useEngine('ort')));

/** Works whose packages have no such test. `pnpm bench memory` runs all of them, and for longer. */
const names = ['swin-dit', 'sid', 'sid-adversarial', 'vsa', 'magi1', 'magi1-distillation', 'magi1-stream', 'sid-sampler'];

async function lapsOf(work: RepeatedWork): Promise<Lap[]> {
  const laps: Lap[] = [];
  await runLaps(work, 30, (lap) => void laps.push(lap), 2);
  return laps;
}

describe('repeated works', () => {
  it.each(names)('%s: holds as many tensors and sessions after 30 times as after 15', async (name) => {
    const [first, last] = (await lapsOf(repeatedWorks[name]!)) as [Lap, Lap];
    expect([first.done, last.done]).toEqual([15, 30]);
    expect(first.tensors).toBeGreaterThan(0);
    expect(first.sessions).toBeGreaterThan(0);
    expect(changedCounts(first, { ...last, threads: first.threads })).toEqual([]);
  });

  it('a work that leaves a tensor behind, opens a session or starts a thread is found', async () => {
    const kept: unknown[] = [];
    const leaking: RepeatedWork = {
      unit: 'steps',
      total: 30,
      run: async (total, done) => {
        for (let i = 0; i < total; i++) {
          kept.push(tf.scalar(i));
          done();
        }
      },
    };
    const [first, last] = (await lapsOf(leaking)) as [Lap, Lap];
    tf.dispose(kept as never);
    const wanted = `tensors: wanted ${first.tensors} as after the first 15, got ${first.tensors + 15} after 30`;
    expect(changedCounts(first, { ...last, threads: first.threads })).toEqual([wanted]);
    const more = { sessions: first.sessions + 1, threads: first.threads - 1 };
    expect(changedCounts(first, { ...first, ...more }).map((text) => text.split(':')[0])).toEqual(['sessions', 'threads']);
  });

  it('a work that stops early is refused', async () => {
    const early: RepeatedWork = { unit: 'samples', total: 3, run: async (_total, done) => done() };
    await expect(runLaps(early, 3, () => {})).rejects.toThrow('wanted 3 samples, got 1');
  });
});
