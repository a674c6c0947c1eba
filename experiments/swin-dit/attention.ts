import type { ImageSet } from '@atelier/datasets';
import type { DiTParams } from '@atelier/nn';
import { attentionProfile, meanDistance, shareWithin, type AttentionProfile, type SwinDiTParams } from '@atelier/swin-dit';
import { tf } from '@atelier/tensor';
import { mean } from 'd3-array';
import type { RunContext } from '../src/runner/experiment.ts';
import { imagesOf } from '../src/data/images.ts';
import { lineChart, type ChartSeries } from '../src/pictures/line-chart.ts';
import type { Config } from './config.ts';
import type { Model } from './models.ts';
import { noisy } from './prediction.ts';
import { tables } from './training.ts';

/** Where a trained DiT looks: distances are the larger of rows and columns, in tokens. */
export type AttentionFindings = {
  /** Share of the attention of each layer within `NEAR`, the mean over its heads; and of heads that look at all tokens alike. */
  within: number[];
  uniformWithin: number;
  /** Mean distance of each layer, the mean over its heads, of its nearest and of its farthest head; and of heads that look at all tokens alike. */
  mean: number[];
  nearest: number[];
  farthest: number[];
  uniformMean: number;
};

/** The distance within which, by what is said of the paper, nearly all interactions happen. */
export const NEAR = 6;

/** Measures and draws where the attention of a trained DiT goes, on true images at times spread evenly over the process. */
export async function analyseAttention(
  context: RunContext<Config>,
  one: Model,
  params: SwinDiTParams,
  set: ImageSet,
): Promise<AttentionFindings> {
  const analysed = Math.min(context.config.images.analysed, set.count);
  const profile = await context.stage('attention-by-distance', async (): Promise<AttentionProfile> => {
    const { x, y } = imagesOf(set, analysed);
    const times = Int32Array.from({ length: analysed }, (_, i) => Math.floor(((i + 0.5) * tables.steps) / analysed));
    const { xt } = noisy(x, context.rng.child('attention noise').normals(x.length), times);
    const image = tf.tensor(xt, [analysed, set.height, set.width, set.channels]);
    const inputs = { t: tf.tensor1d(Float32Array.from(times)), y: tf.tensor1d(y, 'int32') };
    const found = await attentionProfile(params as DiTParams, image, inputs, one.settings.dit, { metric: 'chebyshev' });
    tf.dispose([image, inputs]);
    return found;
  });
  const { distances, mass, uniform } = profile;
  const layers = mass.map((heads) => heads.map((shares) => meanDistance(distances, shares)));
  const findings: AttentionFindings = {
    within: mass.map((heads) => mean(heads, (shares) => shareWithin(distances, shares, NEAR))!),
    uniformWithin: shareWithin(distances, uniform, NEAR),
    mean: layers.map((heads) => mean(heads)!),
    nearest: layers.map((heads) => Math.min(...heads)),
    farthest: layers.map((heads) => Math.max(...heads)),
    uniformMean: meanDistance(distances, uniform),
  };
  await drawAttention(context, profile, findings);
  return findings;
}

async function drawAttention(
  context: RunContext<Config>,
  { distances, mass, uniform }: AttentionProfile,
  found: AttentionFindings,
): Promise<void> {
  const layers = mass.map((_, l) => l + 1);
  const over = (values: readonly number[]): [number, number][] => layers.map((layer, i) => [layer, values[i]!]);
  await context.figure(
    'attention-distance',
    lineChart(
      [
        { name: 'mean of the heads', points: over(found.mean) },
        { name: 'nearest head', points: over(found.nearest) },
        { name: 'farthest head', points: over(found.farthest) },
        { name: 'if all tokens were alike', points: over(layers.map(() => found.uniformMean)), dashed: true },
      ],
      { title: 'DiT: how far attention reaches', x: 'layer', y: 'mean distance in tokens', dots: true },
    ),
    'Distances are the larger of rows and columns between query and key.',
  );
  const upTo = (shares: readonly number[]): [number, number][] =>
    distances.map((distance) => [distance, shareWithin(distances, shares, distance)]);
  const series = mass.map((heads, l): ChartSeries => ({
    name: `layer ${l + 1}`,
    points: upTo(distances.map((_, i) => mean(heads, (shares) => shares[i]!)!)),
  }));
  await context.figure(
    'attention-within',
    lineChart([...series, { name: 'if all tokens were alike', points: upTo(uniform), dashed: true }], {
      title: 'DiT: share of the attention within a distance',
      x: 'distance in tokens',
    }),
    `Within ${NEAR} tokens: ${found.within.map((share) => `${(100 * share).toFixed(1)} %`).join(', ')} by layer, ${(100 * found.uniformWithin).toFixed(1)} % if all tokens were alike.`,
  );
}
