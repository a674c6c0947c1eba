import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { publishedMacsError } from '../mvar/costs.ts';
import { mvar } from '../mvar/index.ts';
import { checkClaims, type ClaimRecord } from '../src/runner/claims.ts';
import { resolveConfig } from '../src/runner/config.ts';
import { experiments } from '../src/registry.ts';
import { here, onlyRun, readJson, temporaryFolder } from './child.ts';
import { expectExported } from './exported.ts';

/** The command line over all experiments. */
const atelier = (words: readonly string[], runs: string) => here(words, runs, undefined, experiments);

describe('what is stated before anything is measured', () => {
  it('is a sound list of claims, and every preset a sound configuration', () => {
    expect(() => checkClaims(mvar)).not.toThrow();
    for (const preset of Object.keys(mvar.presets)) expect(resolveConfig(mvar, preset, []).seed).toBe(0);
  });

  it('has the bounds that were fixed beforehand', () => {
    const bounds = Object.fromEntries(mvar.claims.flatMap(({ id, bound }) => ('outOfReach' in bound ? [] : [[id, bound]])));
    expect(bounds).toEqual({
      'attention-macs': { atMost: 0.65 },
      'published-macs': { atMost: 0.02 },
      'training-memory': { atMost: 0.7 },
      windows: { atMost: 1.03 },
      history: { atMost: 1 },
      cache: { atMost: 0 },
      quality: { atMost: 1.02 },
      'quality-smoke': { atMost: 0.1 },
      'mixed-training': { atMost: 0.95 },
      'attention-near': { atLeast: 1.2 },
      'images-distance': { atMost: 1.1 },
    });
  });

  it('has the published costs of attention to two digits', () => {
    expect(publishedMacsError()).toBeLessThan(0.02);
  });
});

describe('the figures, with few steps', () => {
  let claims: Map<string, ClaimRecord>;
  let run: string;
  beforeAll(async () => {
    const runs = temporaryFolder();
    const words = [
      'images=256',
      'validation=32',
      'samples=16',
      'iterations=6',
      'mixedIterations=10',
      'kinds=[var, concat, mixed]',
      'batch=8',
    ];
    const { code } = await atelier(['run', 'mvar', 'smoke', ...words.map((word) => `figures.${word}`)], runs);
    expect(code).toBe(0);
    run = onlyRun(runs);
    claims = new Map((readJson(join(run, 'claims.json')) as unknown as ClaimRecord[]).map((claim) => [claim.id, claim]));
  });

  it('are drawn from, also outside of this workspace', async () => {
    await expectExported(run, 'figures-concat-1', ['--class', 'disc,cross']);
  });

  it('cost what the paper says', () => {
    for (const id of ['attention-macs', 'published-macs', 'training-memory', 'cache'])
      expect(claims.get(id)?.verdict, id).toBe('reproduced');
    // D(3C²N + 2C·P) with P = 2854 and 11323, N = 130, C = 32.
    expect(claims.get('attention-macs')?.measured).toBeCloseTo((96 * 130 + 2 * 2854) / (96 * 130 + 2 * 11323), 6);
  });

  it('pass through every stage', () => {
    expect(Math.abs(claims.get('quality-smoke')!.measured!)).toBeLessThan(0.1);
    for (const name of ['samples', 'token-maps', 'reconstruction-by-scale', 'neighborhoods', 'attention-mass-by-scale', 'cost-macs'])
      expect(existsSync(join(run, 'figures', `${name}.png`)), name).toBe(true);
  });
});
