import { describe, expect, it } from 'vitest';
import { boundText, checkClaims, judge } from '../src/runner/claims.ts';
import { numberText } from '../src/runner/number-text.ts';
import type { ClaimDefinition } from '../src/runner/experiment.ts';
import { experiments } from '../src/registry.ts';
import { resolveConfig } from '../src/runner/config.ts';
import { linearRegression } from './linear-regression.ts';

const claim = (bound: ClaimDefinition['bound'], change: Partial<ClaimDefinition> = {}): ClaimDefinition => ({
  id: 'x',
  claim: 'c',
  where: 'w',
  published: 'p',
  how: 'h',
  bound,
  presets: 'outOfReach' in bound ? [] : ['smoke'],
  ...change,
});

describe('judge', () => {
  it.each([
    [{ atMost: 0.2 }, 0.2, 'reproduced'],
    [{ atMost: 0.2 }, 0.2000001, 'not reproduced'],
    [{ atMost: 0.2 }, -1e9, 'reproduced'],
    [{ atLeast: 3 }, 3, 'reproduced'],
    [{ atLeast: 3 }, 2.9999, 'not reproduced'],
    [{ atLeast: 0, atMost: 1 }, 0.5, 'reproduced'],
    [{ atLeast: 0, atMost: 1 }, 1.5, 'not reproduced'],
    [{ atLeast: 0, atMost: 1 }, -0.5, 'not reproduced'],
  ] as const)('%j with %d: %s', (bound, measured, verdict) => {
    expect(judge(claim(bound), measured)).toBe(verdict);
  });

  it.each([
    [{ atMost: 0.2 }, 1, 0.99, 'direction only'],
    [{ atMost: 0.2 }, 1, 1, 'not reproduced'],
    [{ atMost: -0.1 }, 0, -0.05, 'direction only'],
    [{ atLeast: 3 }, 1, 1.01, 'direction only'],
    [{ atLeast: 3 }, 1, 0.5, 'not reproduced'],
    [{ atLeast: 3 }, 1, 3, 'reproduced'],
  ] as const)('%j with the neutral value %d and %d: %s', (bound, neutral, measured, verdict) => {
    expect(judge(claim(bound, { neutral }), measured)).toBe(verdict);
  });

  it('refuses what is no number and what is out of reach', () => {
    for (const value of [NaN, Infinity, -Infinity])
      expect(() => judge(claim({ atMost: 1 }), value)).toThrow(`claim 'x': wanted a finite number, got ${value}`);
    expect(() => judge(claim({ outOfReach: 'no GPU' }), 1)).toThrow("claim 'x': is out of reach (no GPU), so nothing can be measured");
  });
});

describe('checkClaims', () => {
  const check = (...claims: ClaimDefinition[]): void => checkClaims({ name: 'e', claims, presets: { smoke: {} } });
  it.each([
    [[claim({ atMost: 1 }), claim({ atMost: 2 })], "e: claim 'x': is defined twice"],
    [[claim({ atMost: 1 }, { id: 'X y' })], "e: claim 'X y': wanted an id of lower-case letters, digits and dashes"],
    [[claim({})], "e: claim 'x': wanted a bound with atLeast <= atMost, got {}"],
    [[claim({ atLeast: 2, atMost: 1 })], 'wanted a bound with atLeast <= atMost, got {"atLeast":2,"atMost":1}'],
    [[claim({ atMost: NaN })], 'wanted a bound with atLeast <= atMost'],
    [[claim({ atMost: 1 }, { presets: ['full'] })], "names the preset 'full', which does not exist"],
    [[claim({ atMost: 1 }, { presets: [] })], 'wanted at least one preset that measures it, got none'],
    [[claim({ atMost: 1 }, { claim: 'a '.repeat(16).trim() })], "e: claim 'x': wanted a claim of at most 15 words, got 16"],
    [[claim({ atMost: 1 }, { neutral: 0.5 })], 'wanted a bound with one end, and a neutral value outside of it, got 0.5 and {"atMost":1}'],
    [[claim({ atLeast: 1, atMost: 2 }, { neutral: 3 })], 'wanted a bound with one end, and a neutral value outside of it, got 3'],
    [[claim({ outOfReach: 'x' }, { presets: ['smoke'] })], "is out of reach, yet the preset 'smoke' should measure it"],
  ])('%#', (claims, words) => {
    expect(() => check(...claims)).toThrow(words);
  });

  it.each([...experiments, linearRegression].map((experiment) => [experiment.name, experiment] as const))(
    '%s: claims and all presets are in order',
    (_, experiment) => {
      checkClaims(experiment);
      for (const preset of Object.keys(experiment.presets)) expect(resolveConfig(experiment, preset, ['seed=7']).seed).toBe(7);
    },
  );
});

it('writes bounds and numbers shortly', () => {
  expect([{ atMost: 0.2 }, { atLeast: 3 }, { atLeast: 0.9, atMost: 1.1 }, { outOfReach: 'x' }].map(boundText)).toEqual([
    '≤ 0.2',
    '≥ 3',
    '0.9 … 1.1',
    'out of reach',
  ]);
  expect([0, 1, 12.3456, 0.00012345, 1e-10, 1234567, -0.5, 999.99].map(numberText)).toEqual([
    '0',
    '1',
    '12.35',
    '1.23e-4',
    '1e-10',
    '1.23e+6',
    '-0.5',
    '1000',
  ]);
});
