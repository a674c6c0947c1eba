import { integrateVelocity, uniformGrid } from '@atelier/diffusion';
import type { Tensor } from '@atelier/tensor';
import { applyWan, type Grid, type WanSettings } from '@atelier/vsa';
import type { Drawer, NamedDrawer, SavedRun } from '../src/runner/experiment.ts';
import { savedWeights } from '../src/training/saved-weights.ts';
import { variantNames, type Config, type Variant } from './config.ts';
import { dictionarySettings } from './dictionary.ts';
import { settingsOf, textOf, TILE } from './glyphs.ts';
import { hasGate, initNetwork, mixerOf } from './network.ts';
import { DICTIONARY_CHANNELS, DICTIONARY_GRID, DICTIONARY_TILE } from './patch-dictionary.ts';

type Network = { variant: Variant; settings: WanSettings; tile: Grid; keep: number; text?: (y: Tensor) => Tensor };

/** Sparse attention before the others; moving letters before patch videos. The part `speed` trains nothing. */
export function drawers(run: SavedRun<Config>): NamedDrawer[] {
  const { parts, glyphs, dictionary } = run.config;
  const found: NamedDrawer[] = [];
  const sparseFirst = (variants: readonly Variant[]): Variant[] => [...variants].sort((a, b) => Number(b === 'vsa') - Number(a === 'vsa'));
  if (parts.includes('glyphs')) {
    const { characters, frames, side, keep, samplingSteps: steps } = glyphs;
    const facts = {
      data: `moving letters, ${frames} frames of ${side} x ${side} pixels`,
      shape: [frames, side, side, 1],
      classNames: [...characters],
      steps,
    };
    for (const variant of sparseFirst(['full', 'vsa'])) {
      const settings = settingsOf(glyphs, variant === 'vsa');
      found.push(
        named(run, `glyphs-${variant}`, { variant, settings, tile: TILE, keep, text: (y) => textOf(y, characters.length) }, facts),
      );
    }
  }
  if (parts.includes('dictionary')) {
    const shape = [...DICTIONARY_GRID, DICTIONARY_CHANNELS];
    const facts = {
      data: 'videos made of copies of a few noisy patches',
      shape,
      classNames: [],
      steps: STEPS,
      range: [-2.5, 2.5],
    } as const;
    for (const variant of sparseFirst(variantNames.filter((name) => dictionary.variants.includes(name)))) {
      const settings = dictionarySettings(dictionary, hasGate(variant));
      found.push(named(run, variant, { variant, settings, tile: DICTIONARY_TILE, keep: dictionary.keep }, facts));
    }
  }
  return found;
}

/** Steps for patch videos, whose samples the run does not draw. */
const STEPS = 30;

function named(
  { checkpoints, rng }: SavedRun<Config>,
  name: string,
  { variant, settings, tile, keep, text }: Network,
  facts: Pick<Drawer, 'data' | 'shape' | 'classNames' | 'range'> & { steps: number },
): NamedDrawer {
  return {
    name,
    async open(): Promise<Drawer> {
      const weights = await savedWeights(checkpoints, name, () => initNetwork(rng, settings));
      const mix = mixerOf(variant, tile, keep);
      const attention = { full: 'full attention', vsa: 'sparse attention' }[variant as string] ?? `the attention '${variant}'`;
      return {
        ...facts,
        weights,
        method: `Euler steps of the velocity by ${attention}; a step is one evaluation of the network`,
        noise: (n) => ({ z: { shape: [n, ...facts.shape], law: 'normal' } }),
        draw: ({ z, y }, steps) =>
          integrateVelocity((at, t) => applyWan(weights, at, { t, ...(text && { text: text(y!) }) }, settings, mix), z!, {
            grid: uniformGrid(steps),
          }),
      };
    },
  };
}
