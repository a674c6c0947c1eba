import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseStrategy } from '@atelier/gs-jacobi';
import { Rng } from '@atelier/tensor';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { streamSide } from '../src/data/image-stream.ts';
import { gsJacobi } from '../gs-jacobi/index.ts';
import { SHOWN_STRATEGY } from '../gs-jacobi/pictures.ts';
import type { ClaimRecord } from '../src/runner/claims.ts';
import { checkClaims } from '../src/runner/claims.ts';
import { resolveConfig } from '../src/runner/config.ts';
import { barChart } from '../src/pictures/bar-chart.ts';
import { heatMap } from '../src/pictures/heat-map.ts';
import { experiments } from '../src/registry.ts';
import { here, onlyRun, readJson, temporaryFolder } from './child.ts';
import { expectExported } from './exported.ts';

/** The command line over all experiments. */
const atelier = (words: readonly string[], runs: string) => here(words, runs, undefined, experiments);
const claimsOf = (run: string): Map<string, ClaimRecord> =>
  new Map((readJson(join(run, 'claims.json')) as unknown as ClaimRecord[]).map((row) => [row.id, row]));
const FIGURES = ['metrics', 'error-by-token', 'schedule', 'comparison'];

describe('what is stated before anything is measured', () => {
  it('is a sound list of claims, and every preset a sound configuration', () => {
    expect(() => checkClaims(gsJacobi)).not.toThrow();
    for (const preset of Object.keys(gsJacobi.presets)) expect(resolveConfig(gsJacobi, preset, []).seed).toBe(0);
  });

  it('has the bounds that were fixed beforehand', () => {
    const bounds = Object.fromEntries(gsJacobi.claims.flatMap(({ id, bound }) => ('outOfReach' in bound ? [] : [[id, bound]])));
    expect(bounds).toEqual({
      'tough-block': { atLeast: 2 },
      'easy-blocks': { atMost: 1 / 3 },
      'equal-work': { atMost: 0.05 },
      'equal-depth': { atMost: 0.3 },
      'right-block': { atMost: 0.65 },
      'depth-close': { atLeast: 2.5 },
      'depth-near': { atLeast: 4 },
      denoised: { atMost: 2e-3 },
      converges: { atMost: 1e-4 },
      exact: { atMost: 1e-4 },
      planner: { atMost: 1 },
    });
  });

  it('names strategies that the networks of their presets can take', () => {
    for (const preset of Object.keys(gsJacobi.presets)) {
      const { data, side, network, strategies } = resolveConfig(gsJacobi, preset, []);
      const tokens = (streamSide(data, side) / network.patchSize) ** 2;
      const stacks = [SHOWN_STRATEGY, ...strategies.names].filter((name) => name.startsWith('['));
      for (const name of stacks) expect(parseStrategy(name, { blocks: network.blocks, tokens })).toHaveLength(network.blocks);
    }
  });

  it('refuses what does not fit together', () => {
    const refused = (words: string[]) => () => resolveConfig(gsJacobi, 'full', words);
    expect(refused(['side=15'])).toThrow(/'network.patchSize': wanted a divisor of 15, the side of the images/);
    expect(refused(['network.headSize=24'])).toThrow(/'network.headSize': wanted a divisor of the width 32/);
    expect(refused(['weights=stored', 'data=mnist'])).toThrow(/'weights': wanted 'train' for mnist/);
    expect(refused(['strategies.names=[top-2]'])).toThrow(/wanted jacobi-<iterations> or \[stack-segments-iterations-else\]/);
  });
});

describe('the smoke preset', () => {
  let claims: Map<string, ClaimRecord>;
  let run: string;
  beforeAll(async () => {
    const runs = temporaryFolder();
    const { code, err } = await atelier(['run', 'gs-jacobi', 'smoke'], runs);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    run = onlyRun(runs);
    claims = claimsOf(run);
  }, 400_000);

  it('reproduces the claims that three samples of Model A can decide', () => {
    expect([...claims.keys()]).toEqual(['converges', 'exact', 'tough-block', 'easy-blocks', 'equal-work']);
    for (const row of claims.values()) expect(row).toMatchObject({ verdict: 'reproduced', changed: false, preset: 'smoke' });
    expect(claims.get('tough-block')!.measured).toBeGreaterThanOrEqual(2);
    expect(claims.get('easy-blocks')!.measured).toBeLessThan(1 / 3);
    expect(claims.get('equal-work')!.measured).toBeLessThan(0.05);
    expect(claims.get('converges')!.measured).toBeLessThan(1e-4);
    expect(claims.get('exact')!.measured).toBeLessThan(1e-4);
  });

  it('is drawn from, also outside of this workspace', async () => {
    await expectExported(run, 'tarflow', ['--steps', '3']);
  });

  it('draws what was found', () => {
    for (const name of FIGURES) expect(existsSync(join(run, 'figures', `${name}.png`))).toBe(true);
    expect(existsSync(join(run, 'report.html'))).toBe(true);
  });
});

describe('other presets', () => {
  const TINY = [
    'network={width: 16, headSize: 8, blocks: 2, layers: 1}',
    'training={steps: 12, batch: 8, watch: 6}',
    'metricImages=16',
    'iterations.batch=2',
    'strategies={batch: 4, names: [jacobi-10, jacobi-15, "[top-2-16-10]", "[top-8-8-10]", "[top-2-8-5]", "[0-2-8-5]"]}',
    'planner.pilots=8',
    'timing=[1]',
  ];

  it('train, measure every claim and draw, at a size that shows little', async () => {
    const runs = temporaryFolder();
    const { code, err, out } = await atelier(['run', 'gs-jacobi', 'full', 'side=8', ...TINY], runs);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const run = onlyRun(runs);
    const wanted = gsJacobi.claims.filter(({ presets }) => presets.includes('full')).map(({ id }) => id);
    expect([...claimsOf(run).keys()].sort()).toEqual([...wanted].sort());
    expect(claimsOf(run).get('converges')!.verdict).toBe('reproduced');
    for (const name of FIGURES) expect(existsSync(join(run, 'figures', `${name}.png`))).toBe(true);
    expect(readdirSync(join(run, 'samples'))).toEqual(['tarflow-step-000006.png', 'tarflow-step-000012.png']);
    expect(out).toMatch(/batch {2}1, sequential/);
  }, 200_000);

  it('read CIFAR-10 from a folder', async () => {
    const data = temporaryFolder();
    const folder = join(data, 'cifar-10-batches-bin');
    mkdirSync(folder);
    // A record is a label below 10 and the 3072 values of an image.
    const records = (name: string): Uint8Array =>
      Uint8Array.from(new Rng(name).integers(40 * 3073, 0, 256), (value, i) => (i % 3073 === 0 ? value % 10 : value));
    for (let part = 1; part <= 5; part++) writeFileSync(join(folder, `data_batch_${part}.bin`), records(`part ${part}`));
    writeFileSync(join(folder, 'test_batch.bin'), records('test'));
    const runs = temporaryFolder();
    vi.stubEnv('ATELIER_DATA', data);
    try {
      const { code, err, out } = await atelier(['run', 'gs-jacobi', 'cifar10', ...TINY, 'timing=[]'], runs);
      expect({ code, err }).toEqual({ code: 0, err: '' });
      expect(out).toMatch(/64 tokens of 48 values/);
      expect([...claimsOf(onlyRun(runs)).keys()]).toEqual(['converges', 'exact', 'planner']);
    } finally {
      vi.unstubAllEnvs();
    }
  }, 200_000);
});

describe('pictures', () => {
  const pngMagic = [0x89, 0x50, 0x4e, 0x47];

  it('draw tables as colours and groups as bars', () => {
    const map = heatMap([{ title: 'a', values: [1e-9, 1e-3, 1, 10, 0, 0.5], rows: 2, columns: 3 }], {
      title: 'table',
      x: 'x',
      y: 'y',
      scale: 'error',
      range: [1e-6, 1],
    });
    expect([...map.png.subarray(0, 4)]).toEqual(pngMagic);
    const bars = barChart(
      [
        {
          title: 'b',
          series: [
            { name: 'one', values: [0, 2.5] },
            { name: 'two', values: [1e-5, 1234] },
          ],
        },
      ],
      { groups: ['g', 'h'] },
    );
    expect([...bars.png.subarray(0, 4)]).toEqual(pngMagic);
    expect(bars.svg).toContain('two');
  });

  it('are refused with what is wrong', () => {
    const options = { x: 'x', y: 'y', scale: 's', range: [1e-6, 1] as const };
    const panel = { title: 'a', values: [1, 2], rows: 1, columns: 2 };
    expect(() => heatMap([], options)).toThrow('heatMap: wanted at least one panel, got none');
    expect(() => heatMap([{ ...panel, rows: 2 }], options)).toThrow("heatMap: 'a': wanted 2 x 2 values, got 2");
    expect(() => heatMap([{ ...panel, values: [1, NaN] }], options)).toThrow("heatMap: 'a': wanted numbers, got NaN at position 1");
    expect(() => heatMap([panel], { ...options, range: [0, 1] })).toThrow('heatMap: range: wanted 0 < low < high, got [0, 1]');
    expect(() => barChart([], { groups: ['g'] })).toThrow('barChart: wanted at least one panel and one group, got none');
    const series = (values: number[]) => [{ title: 'b', series: [{ name: 'one', values }] }];
    expect(() => barChart(series([1]), { groups: ['g', 'h'] })).toThrow("barChart: 'one': wanted 2 values, got 1");
    expect(() => barChart(series([-1]), { groups: ['g'] })).toThrow("barChart: 'one': wanted finite values from 0, got -1");
  });
});
