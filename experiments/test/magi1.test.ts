import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { magi1 } from '../magi1/index.ts';
import { checkClaims, type ClaimRecord } from '../src/runner/claims.ts';
import { resolveConfig } from '../src/runner/config.ts';
import { experiments } from '../src/registry.ts';
import { here, onlyRun, readJson, temporaryFolder } from './child.ts';
import { expectExported } from './exported.ts';

/** The command line over all experiments. */
const atelier = (words: readonly string[], runs: string) => here(words, runs, undefined, experiments);

describe('what is stated before anything is measured', () => {
  it('is a sound list of claims, and every preset a sound configuration', () => {
    expect(() => checkClaims(magi1)).not.toThrow();
    for (const preset of Object.keys(magi1.presets)) expect(resolveConfig(magi1, preset, []).seed).toBe(0);
  });

  it('has the bounds that were fixed beforehand', () => {
    const bounds = Object.fromEntries(magi1.claims.flatMap(({ id, bound }) => ('outOfReach' in bound ? [] : [[id, bound]])));
    expect(bounds).toEqual({
      v2v: { atMost: 0.6 },
      history: { atLeast: 1.5 },
      'longer-history': { atMost: 1 },
      detached: { atLeast: 1.2 },
      'guidance-error': { atMost: 1 },
      'guidance-peak': { atMost: 1 },
      'later-chunks': { atLeast: 1 },
      'pipeline-quality': { atLeast: 0.75, atMost: 1.25 },
      forwards: { atLeast: 1, atMost: 1 },
      distillation: { atMost: 1 },
      'prompt-switch': { atLeast: 0.8 },
      'long-stream': { atLeast: 0.5 },
    });
  });
});

describe('the smoke preset', () => {
  let claims: Map<string, ClaimRecord>;
  let run: string;
  beforeAll(async () => {
    const runs = temporaryFolder();
    const { code } = await atelier(['run', 'magi1', 'smoke'], runs);
    expect(code).toBe(0);
    run = onlyRun(runs);
    claims = new Map((readJson(join(run, 'claims.json')) as unknown as ClaimRecord[]).map((claim) => [claim.id, claim]));
  });

  it.each(['v2v', 'history', 'longer-history', 'forwards'])('reproduces %s', (id) => {
    expect(claims.get(id)?.verdict).toBe('reproduced');
  });

  it('draws its clips and its curve', () => {
    for (const name of ['strip', 'strip-error']) expect(existsSync(join(run, 'figures', `${name}.png`))).toBe(true);
  });
});

it('passes through every stage of the other parts', async () => {
  const runs = temporaryFolder();
  const words = [
    'strip={width: 16, layers: 1, headDim: 8, chunks: 3, steps: 4, judged: 4, given: 2, histories: [1, 2, 3], repeats: 1, trained: [0], training: {steps: 2, batch: 8}, distillation: {steps: 9}}',
    'glyphs={width: 16, layers: 1, headDim: 8, chunks: 3, steps: 4, clips: 20, videos: 1, switched: 4, stream: 8, data: {height: 16, width: 16, characters: AB}, training: {steps: 2, batch: 8}, classifier: {steps: 2}}',
  ];
  const { code } = await atelier(['run', 'magi1', 'full', ...words], runs);
  expect(code).toBe(0);
  const run = onlyRun(runs);
  for (const name of ['strip', 'glyphs', 'glyphs-animated', 'switch', 'stream', 'stream-animated', 'staircase', 'time', 'memory'])
    expect(existsSync(join(run, 'figures', `${name}.png`))).toBe(true);
  await expectExported(run, 'glyphs', ['--class', 'B']);
  // A picture of every chunk was written as it came.
  for (const chunk of [0, 7]) expect(existsSync(join(run, 'samples', `stream-step-${String(chunk).padStart(6, '0')}.png`))).toBe(true);
});
