import { publishedTarFlows, tokenSizes, tarflowConfig, type TarFlowSettings } from '@atelier/tarflow';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  equalSegments,
  everywhere,
  officialStrategy,
  parseStrategy,
  publishedStrategies,
  segmentRanges,
  segmentsFromEnds,
  type BlockPlan,
} from '../src/index.ts';

const jacobi = (segments: number, iterations: number, guess: 'z' | 'zero' = 'z'): BlockPlan => ({
  method: 'gs-jacobi',
  segments,
  iterations,
  guess,
});

describe('segments', () => {
  it('tile the tokens, a remainder spread over the first', () => {
    expect(equalSegments(16, 4)).toEqual([4, 4, 4, 4]);
    expect(equalSegments(10, 4)).toEqual([3, 3, 2, 2]);
    expect(segmentsFromEnds([1, 4, 12])).toEqual([1, 3, 8]);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 200 }), (tokens, count) => {
        fc.pre(count <= tokens);
        const ranges = segmentRanges(tokens, count);
        expect(ranges).toHaveLength(count);
        expect(ranges[0]!.first).toBe(0);
        ranges.slice(1).forEach(({ first }, g) => expect(first).toBe(ranges[g]!.end));
        expect(ranges.at(-1)).toMatchObject({ end: tokens, last: tokens - 1 });
        // Every token but the first is the unknown of exactly one segment.
        expect(ranges.reduce((sum, { first, last }) => sum + last - first, 0)).toBe(tokens - 1);
        const sizes = ranges.map(({ first, end }) => end - first);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe('names of strategies', () => {
  const world = { blocks: 4, tokens: 64 };
  it('are read in the order of sampling', () => {
    expect(parseStrategy('[3-8-32-10]', world)).toEqual([jacobi(8, 32), jacobi(1, 10), jacobi(1, 10), jacobi(1, 10)]);
    expect(parseStrategy('top-8-32-10', world)).toEqual(parseStrategy('[3-8-32-10]', world));
    expect(parseStrategy('[0/2-64/4-1/13-6]', { ...world, guesses: ['zero', 'z', 'zero', 'z'] })).toEqual([
      jacobi(1, 6, 'zero'),
      jacobi(4, 13),
      jacobi(1, 6, 'zero'),
      { method: 'sequential' },
    ]);
    expect(parseStrategy('[0/2-4-7-6]', world).map((plan) => plan.method === 'gs-jacobi' && plan.segments)).toEqual([1, 4, 1, 4]);
  });

  it('give the official lists of the published models', () => {
    const eights = (head: number[], rest: number): number[] => [...head, ...new Array<number>(8 - head.length).fill(rest)];
    const lists = {
      Img128cond: { numGS: eights([1, 8], 1), maxJacobi: eights([10, 32], 10), guess: [0, 1, 0, 0, 0, 0, 1, 0] },
      AFHQ: { numGS: eights([8], 1), maxJacobi: eights([32], 10), guess: [0, 0, 0, 0, 0, 1, 1, 0] },
      Img64uncond: { numGS: [1, 8, 1, 1, 1, 1, 1, 8], maxJacobi: [20, 32, 20, 20, 20, 20, 20, 32], guess: [0, 1, 0, 0, 1, 0, 1, 1] },
      Img64cond: { numGS: [8, 1, 1, 1, 1, 1, 1, 0], maxJacobi: [13, 6, 6, 6, 6, 6, 6, 1], guess: [1, 0, 0, 0, 0, 1, 1, 1] },
    };
    for (const [name, { model, name: notation, guesses }] of Object.entries(publishedStrategies)) {
      const { settings } = publishedTarFlows[model];
      const config = tarflowConfig.parse(settings satisfies TarFlowSettings);
      const tokens = tokenSizes(config).T;
      const read = parseStrategy(notation, { blocks: config.blocks, tokens, guesses });
      expect(read, name).toEqual(officialStrategy(lists[name as keyof typeof lists], tokens));
    }
    expect(Object.keys(lists)).toEqual(Object.keys(publishedStrategies));
  });

  it('are refused in one sentence', () => {
    const read =
      (name: string, options = {}) =>
      () =>
        parseStrategy(name, { ...world, ...options });
    expect(read('6-8-32')).toThrow("parseStrategy: wanted a name like [6-8-32-10] or [0/7-256/8-1/13-6], got '6-8-32'");
    expect(read('[4-8-32-10]')).toThrow('wanted different blocks from 0 to 3 as its stack, got 4');
    expect(read('[1/1-8-32-10]')).toThrow('wanted different blocks from 0 to 3 as its stack, got 1/1');
    expect(read('[top/3-8-32-10]')).toThrow('got 3/3');
    expect(read('[1-0-32-10]')).toThrow('wanted one number of segments from 1 or one for each block of the stack, got 0');
    expect(read('[0/1/2-8/4-32-10]')).toThrow('got 8/4');
    expect(read('[1-8-32-0]')).toThrow('wanted one number of iterations from 1 or one for each block of the stack, got 0');
    expect(read('[1-65-32-3]')).toThrow('wanted at most 64 segments, got 65');
    expect(read('[1-8-32-3]', { guesses: ['z'] })).toThrow('parseStrategy: guesses: wanted 4 guesses, got 1');
    expect(() => officialStrategy({ numGS: [1, 1], maxJacobi: [3], guess: [0, 0] }, 8)).toThrow(
      'maxJacobi: wanted 2 entries as in numGS, got 1',
    );
    expect(() => officialStrategy({ numGS: [1], maxJacobi: [3], guess: [2] }, 8)).toThrow('guess: wanted 0 (noise) or 1 (zero), got 2');
    expect(() => everywhere(2, { method: 'gs-jacobi', segments: 0, iterations: 1 })).toThrow(/^everywhere: strategy: 0.segments: /);
  });
});
