import { checkerboard, gaussian, ring, type Density } from '@atelier/datasets';
import { initPointNetwork, pointNetwork, type PointNetworkParams } from '@atelier/meanflow';
import { energyDistance, slicedWasserstein } from '@atelier/metrics';
import { disposeTree, tf, type Rng } from '@atelier/tensor';
import { floats } from '../src/evaluation/in-batches.ts';
import { scatterGrid, type ScatterPanel } from '../src/pictures/scatter-grid.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import { compareMethods, drawFor, scoreTangents, type BySteps, type Ground, type Scored } from './comparison.ts';
import type { Config, Points, TangentName } from './config.ts';
import { distanceChart } from './distance-chart.ts';
import { colors } from './methods.ts';
import type { Method } from './sampling.ts';

/** Energy distance and sliced Wasserstein distance from true samples, and the moments of the samples. */
export type PointScores = { energy: number; sliced: number; mean: [number, number]; std: number };

/** What was found on one density with one set of initial weights and draws. */
export interface PointFindings {
  readonly floor: PointScores;
  readonly flowMatching: BySteps<PointScores>;
  readonly meanFlow: BySteps<PointScores>;
  readonly tangents: readonly { name: TangentName; scores: BySteps<PointScores> }[];
  readonly msPerStep: { readonly flowMatching: number; readonly meanFlow: number };
}

export const GAUSSIAN_MEAN = [0.7, -0.4] as const;
const GAUSSIAN_STD = 0.5;

const densities = { gaussian: () => gaussian(GAUSSIAN_MEAN, GAUSSIAN_STD), checkerboard, ring };
export type DensityName = keyof typeof densities;

/** Trains flow matching, MeanFlow and (except on the ring) the wrong directions of the JVP on a density, `repeats` times; draws pictures of the first repetition. */
export async function runPoints(context: RunContext<Config>, part: DensityName): Promise<PointFindings[]> {
  const { gaussian: one, points } = context.config;
  // The ring shows how well the modes are covered. The wrong directions and the repetitions are measured on the checkerboard.
  const config = { gaussian: one, checkerboard: points, ring: { ...points, tangents: [], repeats: 1 } }[part];
  const found: PointFindings[] = [];
  for (let repeat = 0; repeat < config.repeats; repeat++) found.push(await runOnce(context, part, config, repeat));
  return found;
}

async function runOnce(context: RunContext<Config>, part: DensityName, config: Points, repeat: number): Promise<PointFindings> {
  const rng = context.rng.child(part);
  const density = densities[part]();
  // The noise and the true samples that judge are the same in all repetitions.
  const truth = density.sample(rng.child('truth'), config.samples);
  const ground = groundOf(context, { part, density, truth, config, repeat });
  const floor = await context.stage(ground.nameOf('floor'), () => ground.score(density.sample(rng.child('second truth'), config.samples)));
  const { meanFlow, flowMatching } = await compareMethods(ground);
  const tangents = await scoreTangents(ground, config.tangents);
  if (repeat === 0) await drawPoints(ground, { part, density, truth, floor, meanFlow, flowMatching });
  disposeTree([meanFlow.params, flowMatching.params]);
  return {
    floor,
    flowMatching: flowMatching.scores,
    meanFlow: meanFlow.scores,
    tangents,
    msPerStep: { flowMatching: flowMatching.msPerStep, meanFlow: meanFlow.msPerStep },
  };
}

type PointGround = Ground<PointNetworkParams, PointScores>;

function groundOf(
  context: RunContext<Config>,
  of: { part: DensityName; density: Density; truth: Float32Array; config: Points; repeat: number },
): PointGround {
  const { part, density, truth, config, repeat } = of;
  const { width, depth, training, samples, manySteps } = config;
  const rng = context.rng.child(part);
  const ending = config.repeats > 1 ? `-${repeat + 1}` : '';
  return {
    context,
    network: { init: (stream) => initPointNetwork(stream, { dimension: 2, width, depth }), apply: pointNetwork },
    settings: training,
    rng: rng.child(repeat),
    nameOf: (variant) => `${part}-${variant}${ending}`,
    data: () => ({ data: (stream) => ({ x: tf.tensor2d(density.sample(stream, training.batch), [training.batch, 2]) }) }),
    noise: { e: floats(rng.child('evaluation').normals(2 * samples), 2) },
    sampleBatch: samples,
    manySteps,
    score: (points) => scorePoints(points, truth, rng.child('directions')),
    describe(name, scores) {
      const distances = Object.entries(scores).map(([steps, { energy }]) => `${steps}: ${thousandths(energy)}`);
      return [`${name}: energy distance x 1000 at ${distances.join(', ')} steps`];
    },
  };
}

async function drawPoints(
  ground: PointGround,
  found: {
    part: DensityName;
    density: Density;
    truth: Float32Array;
    floor: PointScores;
    meanFlow: Scored<PointNetworkParams, PointScores>;
    flowMatching: Scored<PointNetworkParams, PointScores>;
  },
): Promise<void> {
  const { part, density, truth, floor, meanFlow, flowMatching } = found;
  const panel = async (title: string, method: Method, steps: number): Promise<ScatterPanel> => {
    const { params, scores } = method === 'jumps' ? meanFlow : flowMatching;
    return {
      title,
      note: energyNote(scores[steps]!),
      points: floats(await drawFor(ground, params, steps, method), 2),
      color: method === 'jumps' ? colors.MeanFlow : colors['flow matching'],
    };
  };
  const panels: ScatterPanel[] = [
    { title: 'true samples', note: `floor ${thousandths(floor.energy)}e-3`, points: floats(truth, 2), color: colors['true samples'] },
    await panel('MeanFlow, 1 step', 'jumps', 1),
  ];
  for (const steps of [1, 4, ground.manySteps])
    panels.push(await panel(`flow matching, ${steps} ${steps === 1 ? 'step' : 'steps'}`, 'euler', steps));
  await ground.context.figure(
    part,
    scatterGrid(panels, { title: density.name }),
    `${density.name}: both networks have the same size, were trained on the same batches and start from the same noise.`,
  );
  await ground.context.figure(
    `${part}-distances`,
    distanceChart(`${density.name}: energy distance`, found, 'energy'),
    'The dashed line is the distance between two sets of true samples.',
  );
}

const energyNote = ({ energy }: PointScores): string => `energy distance ${thousandths(energy)}e-3`;

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

export const thousandths = (value: number): string => (1000 * value).toPrecision(3);
