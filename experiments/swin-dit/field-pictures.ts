import type { GaussianField } from '@atelier/datasets';
import type { SwinDiTParams } from '@atelier/swin-dit';
import { mean } from 'd3-array';
import { join } from 'node:path';
import type { RunContext } from '../src/runner/experiment.ts';
import { readMetrics } from '../src/runner/metrics-file.ts';
import { floats, labels } from '../src/evaluation/in-batches.ts';
import { imageRows, type ImageRow } from '../src/pictures/image-rows.ts';
import { lineChart, type ChartSeries } from '../src/pictures/line-chart.ts';
import { SEAM_TIME, type Config } from './config.ts';
import { excess, type FieldFindings } from './field-findings.ts';
import { colorOf } from './methods.ts';
import type { Model } from './models.ts';
import { denoised, predictNoise, type NoisyFields } from './prediction.ts';
import { drawSamples } from './sampling.ts';

const COLUMNS = 10;
/** Fields have variance 1: nearly all values lie between. */
const RANGE = [-2.5, 2.5] as const;
/** Points of a curve of losses, each the mean of a part of the training. */
const POINTS = 25;

/** The colour of what no model can be better than, after those of the models. */
const BEST_COLOR = 7;

type Trained = { model: Model; params: SwinDiTParams };

/** What the part on fields shows: errors against cost, losses, seams, denoised fields, samples. */
export async function fieldPictures(
  context: RunContext<Config>,
  found: FieldFindings,
  shown: { trained: readonly Trained[]; field: GaussianField; noisy: NoisyFields; exact: (images: NoisyFields) => Float32Array },
): Promise<void> {
  const { models, whole, windows } = found;
  const points = models.map((one): ChartSeries => ({
    name: one.label,
    color: colorOf(one.name),
    points: [[one.blockMacs / 1e6, excess(found, one.name)]],
  }));
  await context.figure(
    'error-against-macs',
    lineChart(points, {
      title: 'Excess error against cost',
      x: 'multiply-accumulates of the blocks, forward, in millions',
      y: 'error of the noise above the least possible',
      dots: true,
    }),
    `Mean over ${found.repeats.length} repetitions. 0 is the best denoiser there is; windows that do not see each other cannot get below ${(windows.here - whole.here).toFixed(4)}.`,
  );
  await context.figure(
    'losses',
    lossChart(context, found),
    'First repetition, without the first tenth; each point is the mean over a part of the training.',
  );
  await context.figure('seams', seamChart(found), 'First repetition. Above 1, images jump more between windows than inside them.');
  await context.figure(
    'denoised',
    await denoisedGrid(shown),
    'One step of denoising from the same noisy fields: what a window does not know of its neighbours shows.',
  );
  await context.figure('field-samples', await sampleGrid(context, shown), 'All models from the same noise.');
}

function lossChart({ folder, config }: RunContext<Config>, { models, whole, windows }: FieldFindings) {
  const lines = readMetrics(join(folder, 'metrics.jsonl'));
  const { steps } = config.fields.training;
  const ending = config.fields.repeats > 1 ? '-1' : '';
  const curves = models.map(({ name, label }): ChartSeries => {
    const own = lines.filter(({ series }) => series === `field-${name}${ending}`);
    // The fall at the beginning, the same for all, would leave no room for what tells them apart.
    const later = own.slice(Math.floor(own.length / 10));
    const size = Math.ceil(later.length / POINTS);
    const parts = Array.from({ length: Math.ceil(later.length / size) }, (_, i) => later.slice(i * size, (i + 1) * size));
    return {
      name: label,
      color: colorOf(name),
      points: parts.map((part) => [mean(part, ({ step }) => step)!, mean(part, ({ loss }) => Number(loss))!]),
    };
  });
  const level = (name: string, value: number, color: number): ChartSeries => ({
    name,
    color,
    dashed: true,
    points: [
      [steps / 10, value],
      [steps, value],
    ],
  });
  const bounds = [
    level('least possible', whole.expected, BEST_COLOR),
    level('least possible, only windows', windows.expected, colorOf('window')),
  ];
  return lineChart([...curves, ...bounds], { title: 'Training loss', x: 'step', y: 'mean (ε̂ - ε)²', height: 340 });
}

function seamChart({ models, repeats, exactSeams }: FieldFindings) {
  const line = (seams: Readonly<Record<string, number>>): [number, number][] =>
    Object.entries(seams)
      .map(([t, ratio]): [number, number] => [Number(t), ratio])
      .sort(([a], [b]) => a - b);
  const series = models.map(({ name, label }): ChartSeries => ({
    name: label,
    color: colorOf(name),
    points: line(repeats[0]![name]!.seams),
  }));
  return lineChart([...series, { name: 'exact denoiser', color: BEST_COLOR, points: line(exactSeams), dashed: true }], {
    title: 'Jumps across windows over jumps inside',
    x: 'time that is denoised from in one step',
    dots: true,
  });
}

async function denoisedGrid({ trained, field: { side }, noisy, exact }: Parameters<typeof fieldPictures>[2]) {
  const size = side * side;
  const first = (data: Float32Array): Float32Array => data.subarray(0, COLUMNS * size);
  const few: NoisyFields = { x0: first(noisy.x0), noise: first(noisy.noise), xt: first(noisy.xt), times: noisy.times.subarray(0, COLUMNS) };
  const rows: ImageRow[] = [
    { label: 'clean', images: few.x0 },
    { label: `noisy, t = ${SEAM_TIME}`, images: few.xt },
    { label: 'exact', images: exact(few) },
  ];
  for (const { model, params } of trained)
    rows.push({ label: model.label, images: denoised(await predictNoise(model, params, few, side), few) });
  return fieldRows(rows, side, `Denoised in one step from t = ${SEAM_TIME}`);
}

async function sampleGrid({ config, rng, signal }: RunContext<Config>, { trained, field }: Parameters<typeof fieldPictures>[2]) {
  const { side } = field;
  const own = rng.child('field pictures');
  const { samplingSteps: steps } = config.fields;
  const start = { z: floats(own.child('start').normals(COLUMNS * side * side), side, side, 1), y: labels(new Int32Array(COLUMNS)) };
  const rows: ImageRow[] = [{ label: 'true fields', images: field.sample(own.child('true'), COLUMNS) }];
  for (const { model, params } of trained) {
    const sampling = { sampler: 'ddim', steps, guidance: 1, clip: false, batch: COLUMNS, signal } as const;
    rows.push({ label: model.label, images: await drawSamples(model, params, start, own.child('noise'), sampling) });
  }
  return fieldRows(rows, side, `Samples by ${steps} steps of DDIM`);
}

const fieldRows = (rows: readonly ImageRow[], side: number, title: string) =>
  imageRows(rows, { height: side, width: side, channels: 1 }, { title, range: RANGE, tile: 44 });
