import { max, mean, min } from 'd3-array';
import { defineExperiment, type RunContext } from '../src/runner/experiment.ts';
import { claims } from './claims.ts';
import { configSchema, type Config } from './config.ts';
import { drawers } from './drawers.ts';
import { runGuidance, type GuidanceFindings } from './guidance-toy.ts';
import { runImages } from './images.ts';
import { curve } from './methods.ts';
import { runPoints, type PointFindings, type StudentFindings } from './points.ts';
import { presets } from './presets.ts';

/** Score identity Distillation in few steps: points in the plane, guidance, small images. */
export const sid = defineExperiment<Config>({
  name: 'sid',
  paper: { slug: 'sid', title: 'Few-Step Diffusion via Score identity Distillation', arxiv: '2505.12674' },
  title: 'A diffusion model distilled to one, two and four steps without data, and with an adversarial term',
  schema: configSchema,
  presets,
  claims,
  curve,
  drawers,
  tour: { preset: 'smoke', shows: 'a diffusion model of a ring distilled to one step and to four, without data', figure: 'ring8-samples' },
  async run(context) {
    const { parts } = context.config;
    if (parts.includes('points')) await claimPoints(context, await runPoints(context));
    if (parts.includes('guidance')) await claimGuidance(context, await runGuidance(context));
    if (parts.includes('images')) await runImages(context);
  },
});

/** Mean over the seeds of the distance of the last step, or of step k, after an iteration. */
const meanAt = (found: readonly PointFindings[], name: string, iteration: number, k = -1): number =>
  mean(found, ({ students }) => distanceAt(studentOf(students, name), iteration, k))!;
const studentOf = (students: readonly StudentFindings[], name: string): StudentFindings =>
  students.find((student) => student.name === name)!;
const distanceAt = ({ curve }: StudentFindings, iteration: number, k = -1): number =>
  curve.find((one) => one.iteration === iteration)!.distances.at(k)!;

async function claimPoints(context: RunContext<Config>, all: readonly PointFindings[]): Promise<void> {
  const { points } = context.config;
  const found = all.filter(({ density }) => density === 'ring8');
  const last = points.distill.steps;
  const ratio = (one: PointFindings, steps: number, at: number): number =>
    distanceAt(studentOf(one.students, `sid-${steps}`), at) / one.undistilled[steps]!;
  const text = (values: readonly number[]): string => values.map((value) => value.toFixed(3)).join(', ');
  /** Whether there is a student of that name, scored after these iterations: a changed configuration may leave it out. */
  const has = (name: string, ...iterations: readonly number[]): boolean =>
    found.length > 0 &&
    found.every(({ students }) => {
      const curve = students.find((student) => student.name === name)?.curve;
      return curve !== undefined && iterations.every((at) => curve.some(({ iteration }) => iteration === at));
    });
  if (context.measures('smoke-one-step')) {
    for (const [id, steps] of [
      ['smoke-one-step', 1],
      ['smoke-four-steps', 4],
    ] as const)
      // prettier-ignore
      if (has(`sid-${steps}`, last)) await context.claim(id, ratio(found[0]!, steps, last), `${distanceAt(studentOf(found[0]!.students, `sid-${steps}`), last).toFixed(3)} against ${found[0]!.undistilled[steps]!.toFixed(3)}`);
    return;
  }
  if (!context.measures('points-one-step')) return;
  if (has('sid-1', 100)) {
    const early = found.map((one) => ratio(one, 1, 100));
    await context.claim('points-one-step', max(early)!, text(early));
  }
  for (const at of [100, 300]) {
    if (!has('sid-1', at) || !has('sid-4', at)) continue;
    const [one, four] = [meanAt(found, 'sid-1', at), meanAt(found, 'sid-4', at)];
    await context.claim(`points-four-steps-${at}`, four / one, `${four.toFixed(3)} in 4 evaluations against ${one.toFixed(3)} in 1`);
  }
  if (has('sid-1')) {
    const slopes = found.map(({ students }) =>
      correlation(studentOf(students, 'sid-1').curve.map(({ iteration, distances }) => [Math.log(iteration), Math.log(distances.at(-1)!)])),
    );
    await context.claim('points-log-log', mean(slopes)!, text(slopes));
  }
  const names = ['sid-1', 'alpha-05', 'alpha-12'];
  if (names.every((name) => has(name, last))) {
    const alphas = names.map((name) => meanAt(found, name, last));
    await context.claim('points-alpha', max(alphas)! / min(alphas)!, `α = 1, 0.5, 1.2: ${text(alphas)}`);
  }
  if (has('alpha-2') && points.steps.includes(1)) {
    const unstable = found.map((one) => studentOf(one.students, 'alpha-2').curve.at(-1)!.distances.at(-1)! / one.undistilled[1]!);
    await context.claim('points-unstable', min(unstable)!, text(unstable));
  }
  if (!has('sid-4', last)) return;
  const steps = [0, 1, 2, 3].map((k) => meanAt(found, 'sid-4', last, k));
  await context.claim(
    'points-later-steps',
    Math.max(...steps.slice(1).map((value, k) => value / steps[k]!)),
    `step 1 to 4: ${text(steps)}`,
  );
}

async function claimGuidance(context: RunContext<Config>, found: readonly GuidanceFindings[]): Promise<void> {
  if (!['none', 'lsg-2', 'lsg-4.5', 'zero', 'zero-gan'].every((name) => name in found[0]!)) return;
  const of = (name: string) => ({
    agreement: mean(found, (one) => one[name]!.agreement)!,
    distance: mean(found, (one) => one[name]!.distance)!,
  });
  const [none, lsg, zero, zeroGan] = [of('none'), of('lsg-4.5'), of('zero'), of('zero-gan')];
  const shares = `none ${none.agreement.toFixed(3)}, 2 ${of('lsg-2').agreement.toFixed(3)}, 4.5 ${lsg.agreement.toFixed(3)}`;
  await context.claim('guidance-lsg-agreement', lsg.agreement - none.agreement, shares);
  await context.claim(
    'guidance-lsg-distance',
    lsg.distance / none.distance,
    `${lsg.distance.toFixed(3)} against ${none.distance.toFixed(3)}`,
  );
  await context.claim(
    'guidance-zero-gan',
    zeroGan.distance / zero.distance,
    `${zeroGan.distance.toFixed(3)} against ${zero.distance.toFixed(3)}`,
  );
  await context.claim(
    'guidance-zero-gan-agreement',
    zeroGan.agreement - zero.agreement,
    `${zeroGan.agreement.toFixed(3)} against ${zero.agreement.toFixed(3)}`,
  );
}

/** Pearson's correlation of pairs. */
function correlation(pairs: readonly (readonly [number, number])[]): number {
  const [mx, my] = [mean(pairs, ([x]) => x)!, mean(pairs, ([, y]) => y)!];
  const sum = (f: (x: number, y: number) => number): number => pairs.reduce((total, [x, y]) => total + f(x - mx, y - my), 0);
  return sum((x, y) => x * y) / Math.sqrt(sum((x) => x * x) * sum((_, y) => y * y));
}
