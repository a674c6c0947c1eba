import { slicedWasserstein } from '@atelier/metrics';
import { adversarialSettings, guidanceScales, type PointNetworkParams } from '@atelier/sid';
import { disposeTree, tf, type Rng } from '@atelier/tensor';
import { floats, labels } from '../src/evaluation/in-batches.ts';
import { lineChart } from '../src/pictures/line-chart.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import type { Config, GuidanceToy } from './config.ts';
import { distill, drawChain, trainTeacher, type Source, type Variant } from './distill.ts';
import { colorOf } from './methods.ts';
import { pointNetworks } from './points.ts';

/** Share of samples in their class by the true density, and distance from the data. */
export type GuidanceScore = { readonly agreement: number; readonly distance: number };
export type GuidanceFindings = { readonly [variant: string]: GuidanceScore };

const MODES = 8;
const RADIUS = 1.4;

// The discriminator is read off 128 hidden numbers of a network on two coordinates: its term is as large as the other one at this factor.
const adversarial = { ...adversarialSettings.sidDit, criticScale: 1, generatorScale: 1 };
const variants: Record<GuidanceToy['variants'][number], Pick<Variant, 'guidance' | 'adversarial'>> = {
  none: { guidance: guidanceScales.none },
  'lsg-2': { guidance: guidanceScales.lsg(2) },
  'lsg-4.5': { guidance: guidanceScales.lsg(4.5) },
  'long-4.5': { guidance: guidanceScales.long(4.5) },
  zero: { guidance: guidanceScales.zero },
  anti: { guidance: guidanceScales.anti() },
  'zero-gan': { guidance: guidanceScales.zero, adversarial },
  'none-gan': { guidance: guidanceScales.none, adversarial },
};

/** Points with classes: the modes of a ring in turn, wide enough to overlap. */
function drawLabelled(rng: Rng, n: number, std: number): { x: Float32Array; y: Int32Array } {
  const mode = rng.integers(n, 0, MODES);
  const noise = rng.normals(2 * n);
  const x = noise.map((e, i) => {
    const angle = (2 * Math.PI * mode[i >> 1]!) / MODES;
    return RADIUS * (i & 1 ? Math.sin(angle) : Math.cos(angle)) + std * e;
  });
  return { x, y: mode.map((k) => k & 1) };
}

/** Whether each point lies where the density of its class is the larger one: on the side of the nearest mode, all modes being alike. */
function agreement(points: Float32Array, y: Int32Array): number {
  let right = 0;
  for (let i = 0; i < y.length; i++) {
    const turns = (Math.atan2(points[2 * i + 1]!, points[2 * i]!) / (2 * Math.PI)) * MODES;
    if ((((Math.round(turns) % MODES) + MODES) & 1) === y[i]) right++;
  }
  return right / y.length;
}

/** Distils a teacher with classes under every guidance, as often as the configuration says; scores of every repetition. */
export async function runGuidance(context: RunContext<Config>): Promise<GuidanceFindings[]> {
  const { guidance: config } = context.config;
  const found: GuidanceFindings[] = [];
  for (let repeat = 0; repeat < config.repeats; repeat++) found.push(await runOnce(context, repeat));
  const names = Object.keys(found[0]!);
  await context.figure(
    'guidance',
    lineChart(
      names.map((name) => ({
        name,
        color: colorOf('guidance', name),
        points: found.map((one): [number, number] => [one[name]!.agreement, one[name]!.distance]).sort(([a], [b]) => a - b),
      })),
      {
        title: 'Agreement and distance',
        x: 'share of samples in their class',
        y: 'sliced Wasserstein distance',
        dots: true,
      },
    ),
    'One mark a seed.',
  );
  return found;
}

async function runOnce(context: RunContext<Config>, repeat: number): Promise<GuidanceFindings> {
  const { guidance: config } = context.config;
  const { samples, std, repeats } = config;
  const ground = { context, ...pointNetworks(config, 2) };
  const rng = context.rng.child('guidance');
  const own = rng.child(repeat);
  const ending = repeats > 1 ? `-${repeat + 1}` : '';
  const sourceOf = (batch: number): Source => ({
    next(stream) {
      const { x, y } = drawLabelled(stream, batch, std);
      return { x: tf.tensor2d(x, [batch, 2]), y: tf.tensor1d(y, 'int32') };
    },
  });
  const truth = drawLabelled(rng.child('truth'), samples, std);
  const z = floats(rng.child('evaluation').normals(2 * samples), 2);
  const score = async (params: PointNetworkParams): Promise<GuidanceScore> => {
    const levels = ground.parameterization.levels(1);
    const [points] = await drawChain(ground, params, levels, { z, y: labels(truth.y) }, { rng: rng.child('chain'), batch: samples });
    return { agreement: agreement(points!, truth.y), distance: slicedWasserstein(points!, truth.x, 2, rng.child('directions')) };
  };
  const teacher = await trainTeacher(ground, `guidance-teacher${ending}`, config.teacher, {
    source: sourceOf(config.teacher.batch),
    rng: own.child('teacher'),
    classDrop: 0.1,
  });
  const found: Record<string, GuidanceScore> = {};
  found['data'] = {
    agreement: agreement(truth.x, truth.y),
    distance: slicedWasserstein(drawLabelled(rng.child('second truth'), samples, std).x, truth.x, 2, rng.child('directions')),
  };
  for (const kind of config.variants) {
    const variant = variants[kind];
    const name = `guidance-${kind}${ending}`;
    const source = variant.adversarial && sourceOf(config.distill.batch);
    const generator = await distill(ground, teacher, { ...variant, name, steps: 1 }, config.distill, {
      rng: own.child('students'),
      ...(source && { source }),
    });
    const scores = await context.stage(`${name}-score`, () => score(generator));
    found[kind] = scores;
    context.note(`${name}: ${(100 * scores.agreement).toFixed(1)} % in their class, sliced W2 ${scores.distance.toFixed(3)}`);
    disposeTree(generator);
  }
  disposeTree(teacher);
  return found;
}
