import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gaussianField } from '@atelier/datasets';
import { Rng } from '@atelier/tensor';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import type { ClaimRecord } from '../src/runner/claims.ts';
import { checkClaims } from '../src/runner/claims.ts';
import { resolveConfig } from '../src/runner/config.ts';
import { readMetrics } from '../src/runner/metrics-file.ts';
import { experiments } from '../src/registry.ts';
import { swinDit } from '../swin-dit/index.ts';
import { leastError, linearDenoiser } from '../swin-dit/linear-denoiser.ts';
import { model } from '../swin-dit/models.ts';
import { noiseError, noisy } from '../swin-dit/prediction.ts';
import { tables } from '../swin-dit/training.ts';
import { here, onlyRun, readJson, temporaryFolder } from './child.ts';
import { expectExported } from './exported.ts';
import { killAfter, weightsAndScores } from './killed-run.ts';

/** The command line over all experiments. */
const atelier = (words: readonly string[], runs: string) => here(words, runs, undefined, experiments);
const rowsOf = (run: string): ClaimRecord[] => readJson(join(run, 'claims.json')) as unknown as ClaimRecord[];

/** Small fields and images, few steps: enough to pass through every stage, not to learn much. */
const TINY = [
  ...['grid=4', 'window=2', 'width=8', 'depth=2', 'heads=2', 'images=40', 'samplingSteps=3', 'training.batch=4'].map((w) => `fields.${w}`),
  ...['drawn=60', 'samples=30', 'samplingSteps=3', 'analysed=4', 'training.batch=4'].map((word) => `images.${word}`),
  'images.network={patchSize: 2, width: 8, depth: 2, heads: 2, window: 4}',
];

describe('what is stated before anything is measured', () => {
  it('is a sound list of claims, and every preset a sound configuration', () => {
    expect(() => checkClaims(swinDit)).not.toThrow();
    for (const preset of Object.keys(swinDit.presets)) expect(resolveConfig(swinDit, preset, []).seed).toBe(0);
    expect(Object.keys(swinDit.presets)).toEqual(['smoke', 'full', 'mnist', 'cifar10', 'paper']);
  });

  it('has the bounds that were fixed beforehand', () => {
    const bounds = Object.fromEntries(swinDit.claims.flatMap(({ id, bound }) => ('outOfReach' in bound ? [] : [[id, bound]])));
    expect(bounds).toEqual({
      'pswa-dit-smoke': { atMost: 0.75 },
      'pswa-window-smoke': { atMost: 0.8 },
      macs: { atMost: 0.9 },
      'pswa-dit': { atMost: 0.6 },
      'window-floor': { atLeast: 1 },
      'pswa-floor': { atMost: 1 },
      'pswa-swin': { atMost: 1 },
      seams: { atMost: 0.6 },
      pcca: { atMost: 0.9 },
      'pcca-cost': { atLeast: 1, atMost: 1 },
      'attention-needed': { atMost: 1 },
      redundancy: { atLeast: 0.99 },
      'images-distance': { atMost: 1 },
    });
  });

  it('compares networks that differ in nothing but what stands in the place of attention', () => {
    const dit = { inChannels: 1, patchSize: 2, width: 48, depth: 4, heads: 4, numClasses: 1, nullClass: false };
    const of = (name: Parameters<typeof model>[0]) => model(name, { dit, grid: [6, 6], window: 3 });
    const sizes = (['dit', 'window', 'swin', 'pswa', 'bridge'] as const).map((name) => of(name).parameters);
    expect(sizes).toEqual([188_644, 189_044, 189_044, 180_396, 171_748]);
    const macs = (['dit', 'window', 'pswa'] as const).map((name) => (of(name).blockMacs / 1e6).toFixed(2));
    expect(macs).toEqual(['4.53', '4.16', '3.80']);
    expect(of('uniform').blockMacs).toBe(of('pswa').blockMacs);
    expect(of('reversed').blockMacs).toBe(of('pswa').blockMacs);
  });
});

describe('the best that is possible', () => {
  it('is known for whole fields and for windows', () => {
    const [small, large] = [gaussianField(8), gaussianField(12)];
    const found = [leastError(linearDenoiser(small, 8), tables), leastError(linearDenoiser(small, 4), tables)];
    found.push(leastError(linearDenoiser(large, 12), tables), leastError(linearDenoiser(large, 6), tables));
    expect(found.map((value) => value.toFixed(4))).toEqual(['0.1370', '0.1548', '0.0930', '0.1060']);
  });

  it('is reached by the exact denoisers on drawn fields, and a window sees nothing of its neighbours', () => {
    const field = gaussianField(8);
    const count = 2000;
    const [x0, noise] = [field.sample(new Rng('fields'), count), new Rng('noise').normals(count * 64)];
    for (const [t, block] of [
      [100, 8],
      [500, 4],
    ] as const) {
      // prettier-ignore
      const exact = linearDenoiser(field, block);
      const images = noisy(x0, noise, new Int32Array(count).fill(t));
      const predicted = new Float32Array(x0.length);
      for (let i = 0; i < count; i++) predicted.set(exact.predict(images.xt.subarray(64 * i, 64 * i + 64), tables.alphaBar[t]!), 64 * i);
      const expected = exact.error(tables.alphaBar[t]!);
      expect(Math.abs(noiseError(predicted, images) / expected - 1)).toBeLessThan(0.03);
    }
    const windows = linearDenoiser(field, 4);
    const x = new Float64Array(64);
    x[0] = 1;
    const seen = windows.predict(x, 0.5).map((value) => (value === 0 ? 0 : 1));
    for (let i = 0; i < 64; i++) expect(seen[i]).toBe(i % 8 < 4 && i < 32 ? 1 : 0);
    expect(() => linearDenoiser(field, 3)).toThrow("linearDenoiser: block: wanted a divisor of the field's side 8, got 3");
  });
});

describe('the smoke preset', () => {
  let claims: Map<string, ClaimRecord>;
  let run: string;
  beforeAll(async () => {
    const runs = temporaryFolder();
    const { code, err } = await atelier(['run', 'swin-dit', 'smoke'], runs);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    run = onlyRun(runs);
    claims = new Map(rowsOf(run).map((row) => [row.id, row]));
  }, 400_000);

  it('PSWA has at most 0.75 of the excess error of DiT and 0.8 of that of only windows, at 0.9 of the cost', () => {
    for (const id of ['pswa-dit-smoke', 'pswa-window-smoke', 'macs', 'seams'])
      expect(claims.get(id)).toMatchObject({ verdict: 'reproduced', changed: false, preset: 'smoke' });
  });

  it('invariant 18: nothing is better than the best that is possible to it', () => {
    expect(claims.get('window-floor')!.measured).toBeGreaterThanOrEqual(1);
    const { detail } = claims.get('pswa-dit-smoke')!;
    const [, pswa, dit, least] = /pswa ([\d.]+); dit ([\d.]+); least possible ([\d.]+)/.exec(detail!)!.map(Number);
    expect(Math.min(pswa!, dit!)).toBeGreaterThan(least!);
  });

  it('enters only claims that the preset measures, and draws what was found', () => {
    expect([...claims.keys()].sort()).toEqual(['macs', 'pswa-dit-smoke', 'pswa-window-smoke', 'seams', 'window-floor']);
    for (const name of ['error-against-macs', 'losses', 'seams', 'denoised', 'field-samples'])
      expect(existsSync(join(run, 'figures', `${name}.png`))).toBe(true);
    expect(existsSync(join(run, 'report.html'))).toBe(true);
  });
});

describe('the full preset', () => {
  it('passes through all models, twice, images, samples and the attention of DiT', async () => {
    const runs = temporaryFolder();
    const steps = ['fields.training.steps=3', 'images.training.steps=4', 'images.watch=2'];
    const { code, err, out } = await atelier(['run', 'swin-dit', 'full', ...TINY, ...steps], runs);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const run = onlyRun(runs);
    const rows = rowsOf(run);
    expect(rows.map(({ id }) => id).sort()).toEqual(
      swinDit.claims.flatMap(({ id, presets }) => (presets.includes('full') ? [id] : [])).sort(),
    );
    for (const { measured, changed } of rows) expect([Number.isFinite(measured), changed]).toEqual([true, true]);
    // The null result of the allocation is told with all numbers that it is made of.
    expect(rows.find(({ id }) => id === 'pcca')!.detail).toMatch(
      /pswa [\d.]+, [\d.]+; uniform [\d.]+, [\d.]+; reversed [\d.]+, [\d.]+; least/,
    );
    expect(out).toMatch(/PSWA, uniform-2: error/);
    const figures = ['attention-distance', 'attention-within', 'denoised', 'error-against-macs', 'field-samples', 'losses'];
    expect(readdirSync(join(run, 'figures')).filter((file) => file.endsWith('.png'))).toEqual(
      [...figures, 'samples-dit', 'samples-pswa', 'seams'].map((name) => `${name}.png`),
    );
    expect(readdirSync(join(run, 'samples')).sort()).toEqual(
      ['dit', 'pswa'].flatMap((name) => [2, 4].map((step) => `${name}-step-00000${step}.png`)),
    );
  });

  it('learns the variance and samples ancestrally where it is asked to', async () => {
    const runs = temporaryFolder();
    const words = ['parts=[images]', 'images.models=[pswa]', 'images.sampler=ddpm', 'images.network.learnSigma=true'];
    const { code, err } = await atelier(['run', 'swin-dit', 'full', ...TINY, ...words, 'images.training.steps=2'], runs);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    await expectExported(onlyRun(runs), 'image-pswa', ['--steps', '3']);
    const last = readMetrics(join(onlyRun(runs), 'metrics.jsonl')).at(-1)!;
    // The variational term comes on top of the squared error.
    expect(Number(last['loss'])).toBeGreaterThan(Number(last['mse']));
  });
});

describe('a run that is killed in mid-training and resumed', () => {
  const steps = ['fields.training.steps=40', 'images.training.steps=40', 'checkpointSeconds=0'];
  const models = ['fields.models=[window, pswa]', 'fields.repeats=1', 'images.models=[dit]'];
  const words = ['swin-dit', 'full', ...TINY, ...steps, ...models];

  it('ends with the same weights and scores, bit for bit', async () => {
    const whole = temporaryFolder();
    expect(await atelier(['run', ...words], whole)).toMatchObject({ code: 0, err: '' });
    const wanted = await weightsAndScores(onlyRun(whole));
    const runs = temporaryFolder();
    await killAfter(20, 'field-pswa', ['run', ...words], runs);
    await killAfter(20, 'image-dit', ['resume', onlyRun(runs)], runs);
    const ended = await atelier(['resume', onlyRun(runs)], runs);
    expect(ended).toMatchObject({ code: 0, err: '' });
    expect(ended.out).toMatch(/image-dit: goes on after step \d+ of 40/);
    expect(await weightsAndScores(onlyRun(runs))).toEqual(wanted);
  });
});

describe('what is refused', () => {
  it.each([
    ['fields.window=4', "swin-dit: 'fields.window': wanted a divisor of 6, the tokens along a side (1, 2, 3, 6), got 4"],
    ['fields.width=50', "swin-dit: 'fields.width': wanted a multiple of 4, got 50"],
    ['fields.heads=5', "swin-dit: 'fields.heads': wanted a divisor of the width 48, got 5"],
    ['fields.kernel=2', "swin-dit: 'fields.kernel': wanted an odd number, got 2"],
    ['fields.models=[dit, dit]', 'swin-dit: \'fields.models\': wanted each model once, got ["dit","dit"]'],
    [
      'fields.models=[vit]',
      "swin-dit: 'fields.models.0': wanted one of 'dit', 'window', 'swin', 'pswa', 'uniform', 'reversed', 'bridge', got 'vit'",
    ],
    ['fields.seamTimes=[100]', "swin-dit: 'fields.seamTimes': wanted 500 among the times, got [100]"],
    [
      'images.network.window=5',
      "swin-dit: 'images.network.window': wanted a divisor of 16, the tokens along a side (1, 2, 4, 8, 16), got 5",
    ],
    ['images.network.patchSize=3', "swin-dit: 'images.network.patchSize': wanted a divisor of 16, the side of the images, got 3"],
    ['images.widnow=3', "unknown key of swin-dit 'images.widnow'"],
    ['images.classDrop=1.5', "swin-dit: 'images.classDrop': wanted a number <= 1, got 1.5"],
  ])('%s', async (word, wanted) => {
    const runs = join(temporaryFolder(), 'runs');
    expect(await atelier(['run', 'swin-dit', 'full', word], runs)).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringContaining(wanted),
    });
    expect(existsSync(runs)).toBe(false);
  });

  it('a learning rate at which the loss is not finite any more', async () => {
    const runs = temporaryFolder();
    const { code, err } = await atelier(['run', 'swin-dit', 'smoke', ...TINY, 'fields.training.learningRate=1e30'], runs);
    expect(code).toBe(1);
    expect(err).toMatch(/^field-dit: loss is (NaN|Infinity) at step \d+; there is no good checkpoint yet\n$/);
  });

  it('a damaged file of CIFAR-10, named in one sentence', async () => {
    const data = temporaryFolder();
    mkdirSync(join(data, 'cifar-10-batches-bin'));
    writeFileSync(join(data, 'cifar-10-batches-bin', 'data_batch_1.bin'), new Uint8Array(100));
    vi.stubEnv('ATELIER_DATA', data);
    try {
      const { code, err } = await atelier(['run', 'swin-dit', 'cifar10'], temporaryFolder());
      expect(code).toBe(1);
      expect(err).toContain('data_batch_1.bin at byte 0: wanted a whole record of 3073 bytes, got 100 bytes and the end of the file');
      expect(err.trimEnd().split('\n')).toHaveLength(1);
    } finally {
      vi.unstubAllEnvs();
    }
  });
});
