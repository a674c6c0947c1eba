import { checkerboard, ring, type Density } from '@atelier/datasets';
import { slicedWasserstein } from '@atelier/metrics';
import {
  epsilonParameterization,
  guidanceScales,
  initPointNetwork,
  parsePointNetwork,
  pointCritic,
  pointNetwork,
  type PointNetworkParams,
} from '@atelier/sid';
import { disposeTree, tf } from '@atelier/tensor';
import { floats } from '../src/evaluation/in-batches.ts';
import { lineChart } from '../src/pictures/line-chart.ts';
import { scatterGrid, type ScatterPanel } from '../src/pictures/scatter-grid.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import type { Config, Points } from './config.ts';
import { distill, drawChain, trainTeacher, type Networks, type Source, type Variant } from './distill.ts';
import { colorOf } from './methods.ts';

/** Sliced Wasserstein distances of x^(1) … x^(K) after some iterations. */
export type Curve = { readonly iteration: number; readonly distances: readonly number[] };
export type StudentFindings = { readonly name: string; readonly steps: number; readonly alpha: number; readonly curve: readonly Curve[] };
/** What was found on one density with one seed: the teacher, its own chains without distillation by the number of steps, and the students. */
export type PointFindings = {
  readonly density: DensityName;
  readonly floor: number;
  readonly teacher: number;
  readonly undistilled: { readonly [steps: string]: number };
  /** The teacher's deterministic sampler in as many steps. */
  readonly ddim: { readonly [steps: string]: number };
  readonly students: readonly StudentFindings[];
};

const densities = { ring8: () => ring({ radius: 1.4, std: 0.08 }), check: () => checkerboard({ scale: 0.85 }) };
export type DensityName = keyof typeof densities;

/** Networks of points in the plane. */
export function pointNetworks({ width, depth }: { width: number; depth: number }, classes: number): Networks<PointNetworkParams> {
  const network = parsePointNetwork({ width, depth, classes });
  return {
    parameterization: epsilonParameterization(),
    init: (rng) => initPointNetwork(rng, network),
    network: (params) => pointNetwork(params, network),
    critic: (params) => pointCritic(params, network),
    shape: [2],
    classes,
  };
}

/** Trains a teacher and distils it, on every density and as often as the configuration says. */
export async function runPoints(context: RunContext<Config>): Promise<PointFindings[]> {
  const { points } = context.config;
  const found: PointFindings[] = [];
  for (const name of points.densities)
    for (let repeat = 0; repeat < points.repeats; repeat++) found.push(await runOnce(context, points, name, repeat));
  await drawCurves(context, found);
  return found;
}

async function runOnce(context: RunContext<Config>, config: Points, name: DensityName, repeat: number): Promise<PointFindings> {
  const density = densities[name]();
  const rng = context.rng.child(name);
  const ground = { context, ...pointNetworks(config, 0) };
  const own = rng.child(repeat);
  const ending = config.repeats > 1 ? `-${repeat + 1}` : '';
  // The noise and the true samples that judge are the same in all repetitions.
  const truth = density.sample(rng.child('truth'), config.samples);
  const z = floats(rng.child('evaluation').normals(2 * config.samples), 2);
  const distance = (points: Float32Array): number => slicedWasserstein(points, truth, 2, rng.child('directions'));
  const chain = (params: PointNetworkParams, levels: readonly number[], noise: 'fresh' | 'ddim' = 'fresh'): Promise<Float32Array[]> =>
    drawChain(ground, params, levels, { z }, { noise, rng: rng.child('chain'), batch: config.samples });

  const teacher = await trainTeacher(ground, `${name}-teacher${ending}`, config.teacher, {
    source: pointsOf(density, config.teacher.batch),
    rng: own.child('teacher'),
  });
  const levelsOf = (steps: number): number[] => ground.parameterization.levels(steps);
  const many = epsilonParameterization({ start: 999 }).levels(config.teacherSteps);
  const start = await context.stage(`${name}-undistilled${ending}`, async () => {
    const [undistilled, ddim]: Record<string, number>[] = [{}, {}];
    for (const steps of config.steps) {
      undistilled![steps] = distance((await chain(teacher, levelsOf(steps))).at(-1)!);
      ddim![steps] = distance((await chain(teacher, epsilonParameterization({ start: 999 }).levels(steps), 'ddim'))[0]!);
    }
    return {
      floor: distance(density.sample(rng.child('second truth'), config.samples)),
      teacher: distance((await chain(teacher, many, 'ddim'))[0]!),
      undistilled: undistilled!,
      ddim: ddim!,
    };
  });
  const words = Object.entries(start.undistilled).map(
    ([steps, value]) => `${steps}: ${value.toFixed(3)} (DDIM ${start.ddim[steps]!.toFixed(3)})`,
  );
  context.note(
    `${name}: teacher in ${config.teacherSteps} steps ${start.teacher.toFixed(3)}, as it is in few ${words.join(', ')}; floor ${start.floor.toFixed(3)}`,
  );

  const students: StudentFindings[] = [];
  const panels: ScatterPanel[] = [{ title: 'data', points: floats(truth, 2), color: 3 }];
  for (const variant of variantsOf(config, name)) {
    const settings = variant.alpha > 1.2 ? { ...config.distill, steps: Math.min(300, config.distill.steps) } : config.distill;
    const full = { ...variant, name: `${name}-${variant.name}${ending}`, guidance: guidanceScales.none };
    const generator = await distill(ground, teacher, full, settings, {
      rng: own.child('students'),
      watch: {
        at: config.watch,
        async show(average, iteration) {
          const distances = (await chain(average, levelsOf(variant.steps))).map(distance);
          // Remembered, for a resumed run does not pass here again.
          await context.checkpoints.save(scoreName(full.name, iteration), {}, { distances });
          context.log({ 'sliced W2': distances.at(-1)! }, iteration, `${full.name}-score`);
        },
      },
    });
    const levels = levelsOf(variant.steps);
    const curve = await readCurve(context, full.name, [...config.watch.filter((at) => at < settings.steps), settings.steps]);
    students.push({ name: variant.name, steps: variant.steps, alpha: variant.alpha, curve });
    context.note(
      `${full.name}: sliced W2 ${curve.map(({ iteration, distances }) => `${distances.at(-1)!.toFixed(3)} at ${iteration}`).join(', ')}`,
    );
    if (repeat === 0 && variant.alpha === 1 && variant.gradient === undefined)
      panels.push(...(await panelsOf(chain, teacher, generator, levels, variant.steps, start.undistilled, curve.at(-1)!.distances)));
    disposeTree(generator);
  }
  if (repeat === 0)
    await context.figure(
      `${name}-samples`,
      scatterGrid(panels, { title: `${name}: the teacher as it is, and distilled, in few steps`, columns: 5, extent: 2.2 }),
      'The number below a title is the sliced Wasserstein distance from the data.',
    );
  disposeTree(teacher);
  return { density: name, ...start, students };
}

const scoreName = (student: string, iteration: number): string => `${student}-at-${iteration}`;

async function readCurve(context: RunContext<Config>, student: string, iterations: readonly number[]): Promise<Curve[]> {
  return Promise.all(
    iterations.map(async (iteration) => {
      const { state } = (await context.checkpoints.load(scoreName(student, iteration)))!;
      return { iteration, distances: (state as { distances: number[] }).distances };
    }),
  );
}

/** The students of a density. */
export function variantsOf(config: Points, name: DensityName): (Omit<Variant, 'guidance'> & { alpha: number })[] {
  const plain = config.steps.map((steps) => ({ name: `sid-${steps}`, steps, alpha: 1 }));
  if (name !== 'ring8') return plain;
  const alphas = [...config.alphas, ...(config.unstable ? [2] : [])];
  const ends = config.baseline ? [...new Set([config.steps[0]!, Math.max(...config.steps)])] : [];
  return [
    ...plain,
    ...alphas.map((alpha) => ({ name: `alpha-${String(alpha).replace('.', '')}`, steps: 1, alpha })),
    ...ends.map((steps) => ({ name: `dmd-${steps}`, steps, alpha: 1, gradient: 'direct' as const })),
  ];
}

const pointsOf = (density: Density, batch: number): Source => ({
  next: (rng) => ({ x: tf.tensor2d(density.sample(rng, batch), [batch, 2]) }),
});

async function panelsOf(
  chain: (params: PointNetworkParams, levels: readonly number[]) => Promise<Float32Array[]>,
  teacher: PointNetworkParams,
  generator: PointNetworkParams,
  levels: readonly number[],
  steps: number,
  undistilled: { readonly [steps: string]: number },
  distances: readonly number[],
): Promise<ScatterPanel[]> {
  const before = (await chain(teacher, levels)).at(-1)!;
  const after = await chain(generator, levels);
  const title = (k: number): string => (steps === 1 ? 'SiD, 1 step' : `SiD, ${k + 1} of ${steps} steps`);
  return [
    {
      title: `teacher, ${steps} ${steps === 1 ? 'step' : 'steps'}`,
      note: undistilled[steps]!.toFixed(3),
      points: floats(before, 2),
      color: 1,
    },
    ...after.map((points, k) => ({ title: title(k), note: distances[k]!.toFixed(3), points: floats(points, 2), color: 0 })),
  ];
}

/** The distance of the last output over the iterations, all seeds, both axes logarithmic. */
async function drawCurves(context: RunContext<Config>, found: readonly PointFindings[]): Promise<void> {
  for (const density of new Set(found.map((one) => one.density))) {
    const own = found.filter((one) => one.density === density);
    const names = own[0]!.students.filter(({ alpha }) => alpha <= 1.2).map(({ name }) => name);
    const series = names.flatMap((name) =>
      own.map(({ students }, repeat) => ({
        name: repeat === 0 ? name : '',
        color: colorOf(density, name),
        points: students
          .find((student) => student.name === name)!
          .curve.map(({ iteration, distances }): [number, number] => [iteration, distances.at(-1)!]),
      })),
    );
    await context.figure(
      `${density}-curves`,
      lineChart(series, {
        title: `${density}: sliced Wasserstein distance of the last step`,
        x: 'iterations',
        logX: true,
        logY: true,
        dots: true,
      }),
      'One line a seed. Averages of the generator, the same noise for all.',
    );
  }
}
