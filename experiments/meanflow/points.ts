import { checkerboard, gaussian, ring } from '@atelier/datasets';
import { initPointNetwork, pointNetwork, wrongTangents, type PointNetworkParams } from '@atelier/meanflow';
import { energyDistance, slicedWasserstein } from '@atelier/metrics';
import { disposeTree, tf, type Rng } from '@atelier/tensor';
import type { RunContext } from '../src/runner/experiment.ts';
import { scatterGrid, type ScatterPanel } from '../src/pictures/scatter-grid.ts';
import type { Config, Points, TangentName } from './config.ts';
import { distanceChart, type Distances } from './distance-chart.ts';
import { drawSamples, type EvaluationNoise, type Method } from './sampling.ts';
import { trainFlow, type Network, type Variant } from './training.ts';

/** Energy distance and sliced Wasserstein distance from true samples, and the moments of the samples. */
export type PointScores = { energy: number; sliced: number; mean: [number, number]; std: number };
export type PointScoresBySteps = { readonly [steps: string]: PointScores };

/** What was found on one density with one set of initial weights and draws. */
export interface PointFindings {
  readonly floor: PointScores;
  readonly flowMatching: PointScoresBySteps;
  readonly meanFlow: PointScoresBySteps;
  readonly tangents: readonly { name: TangentName; scores: PointScoresBySteps }[];
  readonly msPerStep: { readonly flowMatching: number; readonly meanFlow: number };
}

export const GAUSSIAN_MEAN = [0.7, -0.4] as const;
export const GAUSSIAN_STD = 0.5;

const densities = { gaussian: () => gaussian(GAUSSIAN_MEAN, GAUSSIAN_STD), checkerboard, ring };
export type DensityName = keyof typeof densities;

/** Trains flow matching, MeanFlow and, but on the ring, the wrong tangents on a density, as often as `repeats` says; draws the first repetition. */
export async function runPoints(context: RunContext<Config>, part: DensityName): Promise<PointFindings[]> {
  const { gaussian: one, points } = context.config;
  // The ring shows how modes are met; the wrong tangents and their repetitions are decided on the checkerboard.
  const config = { gaussian: one, checkerboard: points, ring: { ...points, tangents: [], repeats: 1 } }[part];
  const found: PointFindings[] = [];
  for (let repeat = 0; repeat < config.repeats; repeat++) found.push(await runOnce(context, part, config, repeat));
  return found;
}

async function runOnce(context: RunContext<Config>, part: DensityName, config: Points, repeat: number): Promise<PointFindings> {
  const { width, depth, training, samples } = config;
  const density = densities[part]();
  const rng = context.rng.child(part);
  const streams = rng.child(repeat);
  const ending = config.repeats > 1 ? `-${repeat + 1}` : '';
  const network: Network<PointNetworkParams> = {
    init: (stream) => initPointNetwork(stream, { dimension: 2, width, depth }),
    apply: pointNetwork,
  };
  // The noise and the true samples that judge are the same in all repetitions.
  const truth = density.sample(rng.child('truth'), samples);
  const noise: EvaluationNoise = { e: rng.child('evaluation').normals(2 * samples), shape: [2] };
  const score = (points: Float32Array): Promise<PointScores> => scorePoints(points, truth, rng.child('directions'));
  const floor = await context.stage(`${part}-floor${ending}`, () => score(density.sample(rng.child('second truth'), samples)));

  const train = (variant: Variant): Promise<{ average: PointNetworkParams; msPerStep: number }> =>
    trainFlow<PointNetworkParams>({
      context,
      network,
      variant,
      settings: training,
      rng: streams,
      data: (stream) => ({ x: tf.tensor2d(density.sample(stream, training.batch), [training.batch, 2]) }),
    });
  const drawn = (params: PointNetworkParams, steps: number, method: Method): Promise<Float32Array> =>
    drawSamples(network.apply, params, noise, { steps, method, batch: samples, signal: context.signal });
  const evaluate = (name: string, params: PointNetworkParams, method: Method, counts: readonly number[]): Promise<PointScoresBySteps> =>
    context.stage(`evaluate-${name}`, async () => {
      const scores: Record<string, PointScores> = {};
      for (const steps of counts) scores[steps] = await score(await drawn(params, steps, method));
      context.note(`${name}: energy distance x 1000 at ${counts.map((n) => `${n}: ${thousandths(scores[n]!.energy)}`).join(', ')} steps`);
      return scores;
    });

  const { movingShare } = training;
  const mf = await train({ name: `${part}-meanflow${ending}`, movingShare });
  const meanFlow = await evaluate(`${part}-meanflow${ending}`, mf.average, 'jumps', [1, 2, 4]);
  const fm = await train({ name: `${part}-flow-matching${ending}`, movingShare: 0 });
  const flowMatching = await evaluate(`${part}-flow-matching${ending}`, fm.average, 'euler', [1, 2, 4, config.manySteps]);
  const tangents: PointFindings['tangents'][number][] = [];
  for (const tangent of config.tangents) {
    const name = `${part}-tangent-${tangent.replaceAll(',', '')}${ending}`;
    const { average } = await train({ name, movingShare, direction: wrongTangents[tangent] });
    tangents.push({ name: tangent, scores: await evaluate(name, average, 'jumps', [1]) });
    disposeTree(average);
  }

  if (repeat === 0) {
    const panel = async (
      title: string,
      scores: PointScoresBySteps,
      params: PointNetworkParams,
      steps: number,
      method: Method,
    ): Promise<ScatterPanel> => ({
      title,
      note: `energy distance ${thousandths(scores[steps]!.energy)}e-3`,
      points: asPoints(await drawn(params, steps, method)),
      color: method === 'jumps' ? 0 : 1,
    });
    const many = config.manySteps;
    const panels = [
      { title: 'true samples', note: `floor ${thousandths(floor.energy)}e-3`, points: asPoints(truth), color: 2 },
      await panel('MeanFlow, 1 step', meanFlow, mf.average, 1, 'jumps'),
      await panel('flow matching, 1 step', flowMatching, fm.average, 1, 'euler'),
      await panel('flow matching, 4 steps', flowMatching, fm.average, 4, 'euler'),
      await panel(`flow matching, ${many} steps`, flowMatching, fm.average, many, 'euler'),
    ];
    const caption = `${density.name}: both networks have the same size, were trained on the same batches and start from the same noise.`;
    await context.figure(part, scatterGrid(panels, { title: density.name }), caption);
    const distances = (scores: PointScoresBySteps): Distances =>
      Object.fromEntries(Object.entries(scores).map(([steps, { energy }]) => [steps, energy]));
    await context.figure(
      `${part}-distances`,
      distanceChart(`${density.name}: energy distance`, {
        meanFlow: distances(meanFlow),
        flowMatching: distances(flowMatching),
        floor: floor.energy,
      }),
      'The dashed line is the distance between two sets of true samples.',
    );
  }
  disposeTree([mf.average, fm.average]);
  return { floor, flowMatching, meanFlow, tangents, msPerStep: { flowMatching: fm.msPerStep, meanFlow: mf.msPerStep } };
}

async function scorePoints(points: Float32Array, truth: Float32Array, directions: Rng): Promise<PointScores> {
  const n = points.length / 2;
  const mean: [number, number] = [0, 0];
  points.forEach((value, i) => (mean[i & 1]! += value / n));
  const variance = points.reduce((sum, value, i) => sum + (value - mean[i & 1]!) ** 2, 0) / (2 * (n - 1));
  return {
    energy: await energyDistance(points, truth, 2),
    sliced: slicedWasserstein(points, truth, 2, directions),
    mean,
    std: Math.sqrt(variance),
  };
}

const asPoints = (data: Float32Array) => ({ dtype: 'float32' as const, shape: [data.length / 2, 2], data });

export const thousandths = (value: number): string => (1000 * value).toPrecision(3);
