import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { sid } from '../sid/index.ts';
import { checkClaims, type ClaimRecord } from '../src/runner/claims.ts';
import { resolveConfig } from '../src/runner/config.ts';
import { experiments } from '../src/registry.ts';
import { here, onlyRun, readJson, temporaryFolder } from './child.ts';
import { expectExported } from './exported.ts';

/** The command line over all experiments. */
const atelier = (words: readonly string[], runs: string) => here(words, runs, undefined, experiments);

describe('what is stated before anything is measured', () => {
  it('is a sound list of claims, and every preset a sound configuration', () => {
    expect(() => checkClaims(sid)).not.toThrow();
    for (const preset of Object.keys(sid.presets)) expect(resolveConfig(sid, preset, []).seed).toBe(0);
    expect(() => resolveConfig(sid, 'images', ['images.network.channelMult=[1, 2, 2, 2, 2, 2]'])).toThrow(
      /channelMult.*wanted levels that halve a side of 16/,
    );
  });

  it('has the bounds that were fixed beforehand', () => {
    const bounds = Object.fromEntries(sid.claims.flatMap(({ id, bound }) => ('outOfReach' in bound ? [] : [[id, bound]])));
    expect(bounds).toEqual({
      'smoke-one-step': { atMost: 0.4 },
      'smoke-four-steps': { atMost: 0.7 },
      'points-one-step': { atMost: 0.35 },
      'points-four-steps-100': { atMost: 0.8 },
      'points-four-steps-300': { atMost: 0.9 },
      'points-log-log': { atMost: -0.9 },
      'points-alpha': { atMost: 1.15 },
      'points-unstable': { atLeast: 2 },
      'points-later-steps': { atMost: 1 },
      'guidance-lsg-agreement': { atLeast: 0.02 },
      'guidance-lsg-distance': { atLeast: 1.2 },
      'guidance-zero-gan': { atMost: 1 },
      'guidance-zero-gan-agreement': { atLeast: -0.02 },
      'images-four-steps': { atMost: 1.1 },
      'images-one-step': { atMost: 0.35 },
      'images-beats-teacher': { atMost: 1 },
    });
  });
});

describe('the smoke preset', () => {
  let claims: Map<string, ClaimRecord>;
  let run: string;
  beforeAll(async () => {
    const runs = temporaryFolder();
    const { code } = await atelier(['run', 'sid', 'smoke'], runs);
    expect(code).toBe(0);
    run = onlyRun(runs);
    claims = new Map((readJson(join(run, 'claims.json')) as unknown as ClaimRecord[]).map((claim) => [claim.id, claim]));
  });

  it.each(['smoke-one-step', 'smoke-four-steps'])('reproduces %s', (id) => {
    expect(claims.get(id)?.verdict).toBe('reproduced');
  });

  it('draws its samples and its curve', () => {
    for (const name of ['ring8-samples', 'ring8-curves']) expect(existsSync(join(run, 'figures', `${name}.png`))).toBe(true);
  });
});

it('passes through every stage of the other parts', async () => {
  const runs = temporaryFolder();
  const words = [
    'parts=[guidance, images]',
    'guidance={variants: [zero-gan], width: 16, depth: 1, repeats: 1, samples: 64, teacher: {steps: 3, batch: 16}, distill: {steps: 2, batch: 16}}',
    'images.glyphs={size: 8, characters: AB}',
    'images.students=[none, lsg]',
    'images.drawn=200',
    'images.network={channels: 4, channelMult: [1]}',
    'images.teacher={steps: 3, batch: 8}',
    'images.distill={steps: 2, batch: 8}',
    'images.steps=[2]',
    'images.classifier.steps=5',
    'images.samples=80',
    'images.teacherSteps=3',
  ];
  const { code } = await atelier(['run', 'sid', 'full', ...words], runs);
  expect(code).toBe(0);
  const run = onlyRun(runs);
  for (const name of ['guidance', 'images', 'agreement']) expect(existsSync(join(run, 'figures', `${name}.png`))).toBe(true);
  await expectExported(run, 'image-none-2');
  await expectExported(run, 'image-teacher', ['--steps', '3', '--class', 'B']);
});
