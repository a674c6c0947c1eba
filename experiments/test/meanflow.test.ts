import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { meanflow } from '../meanflow/index.ts';
import type { ClaimRecord } from '../src/runner/claims.ts';
import { checkClaims } from '../src/runner/claims.ts';
import { resolveConfig } from '../src/runner/config.ts';
import { readMetrics } from '../src/runner/metrics-file.ts';
import { experiments } from '../src/registry.ts';
import { here, onlyRun, readJson, temporaryFolder } from './child.ts';
import { expectExported } from './exported.ts';
import { killAfter, weightsAndScores } from './killed-run.ts';

/** The command line over all experiments. */
const atelier = (words: readonly string[], runs: string) => here(words, runs, undefined, experiments);

/** Small images and few steps: enough to pass through every stage, not to learn much. */
const TINY = [
  'images.drawn=2000',
  'images.network={patchSize: 4, width: 32, depth: 1, heads: 2}',
  'images.training.batch=16',
  'images.classifier.steps=60',
  'images.samples=128',
  'images.manySteps=4',
];

describe('what is stated before anything is measured', () => {
  it('is a sound list of claims, and every preset a sound configuration', () => {
    expect(() => checkClaims(meanflow)).not.toThrow();
    for (const preset of Object.keys(meanflow.presets)) expect(resolveConfig(meanflow, preset, []).seed).toBe(0);
  });

  it('has the bounds that were fixed beforehand', () => {
    const bounds = Object.fromEntries(meanflow.claims.flatMap(({ id, bound }) => ('outOfReach' in bound ? [] : [[id, bound]])));
    expect(bounds).toEqual({
      'gaussian-spread': { atLeast: 1.7 },
      'gaussian-mean': { atMost: 0.1 },
      'points-one-step': { atMost: 1 / 5 },
      'points-many-steps': { atMost: 2.5 },
      'points-more-steps': { atMost: 2 },
      'points-cost': { atMost: 2.5 },
      'points-tangent-v00': { atLeast: 3 },
      'points-tangent-v10': { atLeast: 3 },
      'points-tangent-v11': { atLeast: 3 },
      'points-tangent-001': { atLeast: 3 },
      'images-one-step': { atMost: 1 / 5 },
      'images-many-steps': { atMost: 2.5 },
      'images-class-share': { atLeast: 0.9 },
      'images-cost': { atMost: 2.5 },
      'images-judge': { atLeast: 0.98 },
      'images-guidance': { atLeast: 0 },
      'images-guidance-mixing': { atMost: 0.03 },
      'images-tangent-v00': { atLeast: 3 },
      'images-tangent-v10': { atLeast: 3 },
      'images-tangent-v11': { atLeast: 3 },
    });
  });

  it('lets a word change one key of a part and leave the defaults of the others', () => {
    const { gaussian, images } = resolveConfig(meanflow, 'full', ['gaussian.training.steps=7', 'images.training.steps=7']);
    expect(gaussian.training).toMatchObject({ steps: 7, batch: 256, learningRate: 2e-3, decay: 'linear', emaDecay: 0, p: 0 });
    expect(images.training).toMatchObject({ steps: 7, batch: 64, b2: 0.95, p: 1 });
  });
});

describe('the smoke preset', () => {
  let claims: Map<string, ClaimRecord>;
  let run: string;
  beforeAll(async () => {
    const runs = temporaryFolder();
    const { code, err } = await atelier(['run', 'meanflow', 'smoke'], runs);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    run = onlyRun(runs);
    const rows = readJson(join(run, 'claims.json')) as unknown as ClaimRecord[];
    claims = new Map(rows.map((row) => [row.id, row]));
  }, 400_000);

  it('finds the mean and the spread of a Gaussian in one step, where flow matching collapses', () => {
    expect(claims.get('gaussian-spread')!.measured).toBeGreaterThanOrEqual(1.7);
    expect(claims.get('gaussian-mean')!.measured).toBeLessThan(0.1);
  });

  it.each(['points-one-step', 'images-one-step'])('is five times as good in one step as flow matching: %s', (id) => {
    expect(claims.get(id)!.measured).toBeLessThan(0.2);
    expect(claims.get(id)).toMatchObject({ verdict: 'reproduced', changed: false, preset: 'smoke' });
  });

  it('enters only claims that the preset measures, and draws what was found', () => {
    expect([...claims.keys()]).toEqual(['gaussian-spread', 'gaussian-mean', 'points-one-step', 'images-one-step']);
    for (const name of ['gaussian', 'gaussian-distances', 'checkerboard', 'checkerboard-distances', 'comparison', 'distances', 'one-step'])
      expect(existsSync(join(run, 'figures', `${name}.png`))).toBe(true);
    expect(existsSync(join(run, 'report.html'))).toBe(true);
  });

  it('logs the squared error of rows with r = t and r < t apart', () => {
    const last = (series: string) =>
      readMetrics(join(run, 'metrics.jsonl'))
        .filter((line) => line.series === series)
        .at(-1)!;
    const { 'error r=t': equal, 'error r<t': moving, loss } = last('checkerboard-meanflow') as unknown as Record<string, number>;
    // p = 0: the loss is the summed squared error, half of the rows are of each kind, and a point has two values.
    expect(loss).toBeCloseTo(equal! + moving!, 3);
    expect(Object.keys(last('checkerboard-flow-matching'))).not.toContain('error r<t');
  });
});

describe('images', () => {
  it('pass through guidance, wrong directions of the JVP, evaluation and pictures', async () => {
    const runs = temporaryFolder();
    const extra = [
      'images.training.steps=30',
      'images.watch=20',
      'images.guidance=[{omega: 1, kappa: 0.5}, {omega: 2, kappa: 0}]',
      'images.tangents=["v,0,0"]',
    ];
    const { code, err, out } = await atelier(['run', 'meanflow', 'full', 'parts=[images]', ...TINY, ...extra], runs);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const run = onlyRun(runs);
    const rows = readJson(join(run, 'claims.json')) as unknown as ClaimRecord[];
    expect(rows.map(({ id }) => id)).toEqual([
      'images-one-step',
      'images-many-steps',
      'images-class-share',
      'images-guidance',
      'images-guidance-mixing',
      'images-tangent-v00',
      'images-cost',
    ]);
    for (const { measured } of rows) expect(Number.isFinite(measured)).toBe(true);
    expect(readdirSync(join(run, 'samples')).sort()).toEqual(
      ['flow-matching', 'guided-omega-1-kappa-0.5', 'guided-omega-2-kappa-0', 'meanflow', 'tangent-v00'].flatMap((name) => [
        `${name}-step-000020.png`,
        `${name}-step-000030.png`,
      ]),
    );
    expect(readdirSync(join(run, 'figures')).sort()).toEqual([
      'captions.json',
      'comparison.png',
      'distances.png',
      'distances.svg',
      'one-step.png',
    ]);
    await expectExported(run, 'meanflow');
    expect(out).toMatch(/the classifier is right on \d+\.\d\d % of 128 images/);
  });
});

describe('a run that is killed in mid-training and resumed', () => {
  /** Claims about times. */
  const TIMED = ['images-cost'];
  const words = ['parts=[images]', ...TINY, 'images.training.steps=40', 'checkpointSeconds=0'];

  it('ends with the same weights and scores, bit for bit', async () => {
    const whole = temporaryFolder();
    expect(await atelier(['run', 'meanflow', 'smoke', ...words], whole)).toMatchObject({ code: 0, err: '' });
    const wanted = await weightsAndScores(onlyRun(whole), TIMED);

    const runs = temporaryFolder();
    await killAfter(20, 'classifier', ['run', 'meanflow', 'smoke', ...words], runs);
    await killAfter(20, 'flow-matching', ['resume', onlyRun(runs)], runs);
    const ended = await atelier(['resume', onlyRun(runs)], runs);
    expect(ended).toMatchObject({ code: 0, err: '' });
    expect(ended.out).toMatch(/flow-matching: goes on after step \d+ of 40/);
    expect(await weightsAndScores(onlyRun(runs), TIMED)).toEqual(wanted);
  });
});

describe('what is refused', () => {
  it.each([
    [
      'images.netwrok.width=3',
      "unknown key of meanflow 'images.netwrok.width': the nearest is 'images.network.width' (there are seed, parts, ",
    ],
    ['images.data=minst', "meanflow: 'images.data': wanted one of 'shapes', 'glyphs', 'mnist', 'fashion-mnist', 'cifar10', got 'minst'"],
    ['images.network.patchSize=3', "meanflow: 'images.network.patchSize': wanted a divisor of 8, the side of the images, got 3"],
    ['images.network.heads=5', "meanflow: 'images.network.heads': wanted a divisor of the width 64, got 5"],
    ['images.glyphs.characters=AA', "meanflow: 'images.glyphs.characters': wanted each character once, got 'AA'"],
    ['points.training.movingShare=1.5', "meanflow: 'points.training.movingShare': wanted a number <= 1, got 1.5"],
    ['points.tangents=["v,0,1"]', "meanflow: 'points.tangents.0': wanted one of 'v,0,0', 'v,1,0', 'v,1,1', '0,0,1', got 'v,0,1'"],
    ['parts=[]', "meanflow: 'parts': wanted a list of at least 1 items, got []"],
    ['parts=[ring, ring]', 'meanflow: \'parts\': wanted each part once, got ["ring","ring"]'],
  ])('%s', async (word, wanted) => {
    const runs = join(temporaryFolder(), 'runs');
    expect(await atelier(['run', 'meanflow', 'smoke', word], runs)).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringContaining(wanted),
    });
    expect(existsSync(runs)).toBe(false);
  });

  it('a learning rate at which the loss is not finite any more: the step and the last checkpoint are named', async () => {
    const runs = temporaryFolder();
    const words = ['parts=[gaussian]', 'gaussian.training.learningRate=1e20'];
    const { code, err } = await atelier(['run', 'meanflow', 'smoke', ...words], runs);
    expect(code).toBe(1);
    expect(err).toMatch(/^gaussian-meanflow: loss is (NaN|Infinity) at step \d+; there is no good checkpoint yet\n$/);
    expect(readJson(join(onlyRun(runs), 'run.json'))['status']).toBe('failed');
  });

  it.each([
    [
      'a part of MNIST',
      (folder: string) => writeFileSync(join(folder, 'train-images-idx3-ubyte'), ''),
      /wanted .*train-labels-idx1-ubyte\[\.gz\] beside its images/,
    ],
    [
      'a damaged file of MNIST',
      (folder: string) => {
        writeFileSync(join(folder, 'train-images-idx3-ubyte.gz'), gzipSync(Buffer.from([0, 0, 8, 3, 0, 0])));
        writeFileSync(join(folder, 'train-labels-idx1-ubyte.gz'), gzipSync(Buffer.from([0, 0, 8, 1, 0, 0, 0, 0])));
      },
      /train-images-idx3-ubyte/,
    ],
  ])('%s: the file is named in one sentence', async (_, prepare, wanted) => {
    const data = temporaryFolder();
    mkdirSync(join(data, 'mnist'));
    prepare(join(data, 'mnist'));
    vi.stubEnv('ATELIER_DATA', data);
    try {
      const { code, err } = await atelier(['run', 'meanflow', 'mnist'], temporaryFolder());
      expect(code).toBe(1);
      expect(err).toMatch(wanted);
      expect(err.trimEnd().split('\n')).toHaveLength(1);
    } finally {
      vi.unstubAllEnvs();
    }
  });
});
