import { initMagi, magiSampler, type MagiParams, type VideoOptions } from '@atelier/magi1';
import type { Tree } from '@atelier/tensor';
import type { Drawer, NamedDrawer, SavedRun } from '../src/runner/experiment.ts';
import { savedWeights } from '../src/training/saved-weights.ts';
import type { Config, Glyphs, Strip } from './config.ts';
import { optionsOf } from './glyphs.ts';
import { networkFor, textOf, type ClipSize } from './network.ts';
import { PLAIN, scheduleOf } from './strip.ts';
import { STRIP, stripSize } from './walks.ts';

type Prompts = VideoOptions['prompts'];
type Facts = Pick<Drawer, 'data' | 'classNames' | 'range'>;

/** The network of moving letters, then those of strips, the first repetition of each. */
export function drawers(run: SavedRun<Config>): NamedDrawer[] {
  const { parts, glyphs, strip } = run.config;
  const found: NamedDrawer[] = [];
  if (parts.includes('glyphs') || parts.includes('stream')) {
    const { height, width, characters } = glyphs.data;
    const frames = glyphs.chunks * glyphs.chunkFrames;
    const facts = { data: `moving letters of ${height} x ${width} pixels`, classNames: [...characters] };
    const size = { frames, height, width, classes: characters.length };
    found.push(named(run, 'glyphs', glyphs, size, facts, (steps, prompts) => optionsOf({ ...glyphs, steps }, glyphs.chunks, prompts)));
  }
  if (parts.includes('strip')) {
    const facts = { data: 'a bump that walks along a strip', classNames: ['narrow', 'wide'], range: [-0.6, 1.4] } as const;
    for (const variant of strip.variants)
      found.push(
        named(run, `strip-${variant}-0`, strip, { ...stripSize(strip.chunks * strip.chunkFrames), ...STRIP }, facts, (steps, prompts) => ({
          schedule: scheduleOf({ ...strip, steps }, Math.max(...strip.histories)),
          prompts,
          guidance: PLAIN,
        })),
      );
  }
  return found;
}

function named(
  { checkpoints, rng }: SavedRun<Config>,
  name: string,
  keys: Strip | Glyphs,
  size: ClipSize,
  facts: Facts,
  options: (steps: number, prompts: Prompts) => VideoOptions,
): NamedDrawer {
  const { frames, height, width, classes } = size;
  const shape = [frames, height, width, 1];
  return {
    name,
    async open(): Promise<Drawer> {
      const config = networkFor(keys, size);
      const weights = await savedWeights(checkpoints, name, () => initMagi(rng, config) as unknown as Tree);
      const sampler = magiSampler(config);
      return {
        ...facts,
        shape,
        weights,
        method: `${keys.chunks} chunks of ${keys.chunkFrames} frames, up to ${keys.window} at a time; steps are those of a chunk`,
        steps: keys.steps,
        noise: (n) => ({ z: { shape: [n, ...shape], law: 'normal' } }),
        draw: ({ z, y }, steps) => sampler.sample(weights as unknown as MagiParams, z!, options(steps, textOf(y!, classes))),
      };
    },
  };
}
