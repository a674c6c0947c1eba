import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Rng, tf, toHost, useEngine } from '@atelier/tensor';
import { tileLayout, toTiles } from '@atelier/vsa';
import { beforeAll, describe, expect, it } from 'vitest';
import { experiments } from '../src/registry.ts';
import { checkClaims, type ClaimRecord } from '../src/runner/claims.ts';
import { resolveConfig } from '../src/runner/config.ts';
import { mixerOf } from '../vsa/network.ts';
import { DICTIONARY_GRID, DICTIONARY_TILE, dictionaryVideos } from '../vsa/patch-dictionary.ts';
import { selectionPicture } from '../vsa/selection-picture.ts';
import { vsa } from '../vsa/index.ts';
import { here, onlyRun, readJson, temporaryFolder } from './child.ts';
import { expectExported } from './exported.ts';

beforeAll(async () => void (await useEngine()));

describe('the patch dictionary', () => {
  it('shows at most four different patches in a video, each as wide as the other noise', async () => {
    const videos = dictionaryVideos(new Rng('data'), 3);
    const tokens = tf.reshape(videos, [3, 1, 256, 4]);
    const tiles = await toHost(toTiles(tokens, tileLayout(DICTIONARY_GRID, DICTIONARY_TILE)));
    for (let n = 0; n < 3; n++) {
      const patches = Array.from({ length: 32 }, (_, tile) => tiles.data.slice((n * 32 + tile) * 32, (n * 32 + tile + 1) * 32).join());
      const different = new Set(patches).size;
      expect(different).toBeGreaterThan(1);
      expect(different).toBeLessThanOrEqual(4);
    }
    tf.dispose([videos, tokens]);
  });
});

describe('variants of attention', () => {
  it('choose the nearest tiles, tiles at random that stay, and differ from each other', () => {
    tf.tidy(() => {
      const rng = new Rng('variants');
      const [q, k, v] = ['q', 'k', 'v'].map((name) => rng.child(name).normal([2, 2, 256, 4]));
      const lists = (variant: 'local' | 'random' | 'vsa', layer = 0): number[] => {
        let found: number[] = [];
        const mix = mixerOf(variant, DICTIONARY_TILE, 4, (view) => (found = [...view.lists.dataSync()]));
        mix({ q: q!, k: k!, v: v! }, { layer, grid: DICTIONARY_GRID });
        return found;
      };
      // Tile 0 is a corner: itself and its neighbours along columns, rows and frames.
      expect(lists('local').slice(0, 4)).toEqual([0, 1, 4, 16]);
      expect(lists('random')).toEqual(lists('random'));
      expect(lists('random', 1)).not.toEqual(lists('random'));
      expect(lists('vsa')).not.toEqual(lists('local'));
      for (const variant of ['local', 'random'] as const)
        for (let row = 0; row < 128; row++) expect(new Set(lists(variant).slice(4 * row, 4 * row + 4)).size).toBe(4);
    });
  });
});

describe('the picture of a selection', () => {
  it('has a row for each layer', () => {
    const video = { dtype: 'float32' as const, shape: [1, 4, 8, 8, 1], data: new Float32Array(256) };
    const lists = [1, 2].map((tile) => ({ dtype: 'int32' as const, shape: [1, 1, 8, 1], data: new Int32Array(8).fill(tile) }));
    const one = selectionPicture(video, lists.slice(0, 1), { grid: [4, 4, 4], tile: [2, 2, 2], patch: [1, 2, 2] });
    const two = selectionPicture(video, lists, { grid: [4, 4, 4], tile: [2, 2, 2], patch: [1, 2, 2] });
    expect(two.height).toBeGreaterThan(one.height);
  });
});

describe('what is stated before anything is measured', () => {
  it('is a sound list of claims, and every preset a sound configuration', () => {
    expect(() => checkClaims(vsa)).not.toThrow();
    for (const preset of Object.keys(vsa.presets)) expect(resolveConfig(vsa, preset, []).seed).toBe(0);
  });

  it('has the bounds that were fixed beforehand', () => {
    const bounds = Object.fromEntries(vsa.claims.flatMap(({ id, bound }) => ('outOfReach' in bound ? [] : [[id, bound]])));
    expect(bounds).toEqual({
      learns: { atMost: 1.9 },
      'vsa-full': { atMost: -0.05 },
      'vsa-local': { atMost: -0.15 },
      'coarse-output': { atMost: 0 },
      'captured-mass': { atLeast: 2.5 },
      'training-flops': { atLeast: 1.5 },
      'zero-gate': { atMost: 1e-5 },
      'random-gate': { atLeast: 0.02 },
      adaptation: { atMost: -0.05 },
      'glyphs-equal-flops': { atMost: 0 },
      'attention-speed': { atLeast: 6 },
      'arithmetic-rate': { atLeast: 0.9 },
      growth: { atMost: 1.1 },
      'sampling-time': { atLeast: 1.7 },
    });
  });
});

describe('a run', () => {
  it('passes through every part', async () => {
    const runs = temporaryFolder();
    const words = [
      'parts=[dictionary, glyphs, speed]',
      'dictionary.training={steps: 2, batch: 2}',
      'dictionary.watch=1',
      'dictionary.judged=1',
      'dictionary.sweep=[1, 32]',
      'dictionary.adaptation=2',
      'glyphs={heads: 1, layers: 1, videos: 8, samplingSteps: 2, judged: 2, training: {steps: 2, batch: 2}}',
      'speed={frames: [4, 8], dense: 4, sampled: 4, sparsities: [0.875], turns: 1}',
    ];
    const { code, err } = await here(['run', 'vsa', 'full', ...words], runs, undefined, experiments);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const run = onlyRun(runs);
    const rows = readJson(join(run, 'claims.json')) as unknown as ClaimRecord[];
    for (const { id, measured } of rows) expect([id, Number.isFinite(measured)]).toEqual([id, true]);
    expect(rows.map(({ id }) => id)).toEqual(expect.arrayContaining(['vsa-full', 'captured-mass']));
    // The networks of the parts have checkpoints of their own.
    const checkpoints = readdirSync(join(run, 'checkpoints'));
    for (const name of ['full', 'glyphs-full']) expect(checkpoints.some((file) => file.startsWith(name))).toBe(true);
    for (const name of ['sweep', 'samples-vsa', 'time']) expect(existsSync(join(run, 'figures', `${name}.png`))).toBe(true);
    await expectExported(run, 'glyphs-vsa');
  });
});
