import { mean } from 'd3-array';
import { defineExperiment, type RunContext } from '../src/runner/experiment.ts';
import { claims, tangentClaim } from './claims.ts';
import { configSchema, type Config } from './config.ts';
import { drawers } from './drawers.ts';
import { runImages, type ImageFindings } from './images.ts';
import { curve } from './methods.ts';
import { GAUSSIAN_MEAN, runPoints, thousandths, type PointFindings } from './points.ts';
import { presets } from './presets.ts';

/** MeanFlow beside flow matching: points in the plane, small images, digits. */
export const meanflow = defineExperiment<Config>({
  name: 'meanflow',
  paper: { slug: 'meanflow', title: 'Mean Flows for One-step Generative Modeling', arxiv: '2505.13447' },
  title: 'Images in one step: MeanFlow beside flow matching',
  schema: configSchema,
  presets,
  claims,
  curve,
  drawers,
  tour: { preset: 'tour', shows: 'letters drawn in one step, by MeanFlow and by flow matching', figure: 'comparison' },
  async run(context) {
    const { parts } = context.config;
    if (parts.includes('gaussian')) await claimGaussian(context, (await runPoints(context, 'gaussian'))[0]!);
    if (parts.includes('checkerboard')) await claimPoints(context, await runPoints(context, 'checkerboard'));
    if (parts.includes('ring')) await runPoints(context, 'ring');
    if (parts.includes('images')) await claimImages(context, await runImages(context));
  },
});

async function claimGaussian(context: RunContext<Config>, { meanFlow, flowMatching }: PointFindings): Promise<void> {
  const [mf, fm] = [meanFlow[1]!, flowMatching[1]!];
  await context.claim('gaussian-spread', mf.std / fm.std, `std ${mf.std.toFixed(3)} against ${fm.std.toFixed(3)}; the data have 0.5`);
  const offset = Math.hypot(mf.mean[0] - GAUSSIAN_MEAN[0], mf.mean[1] - GAUSSIAN_MEAN[1]);
  await context.claim('gaussian-mean', offset, `mean (${mf.mean.map((value) => value.toFixed(3)).join(', ')})`);
}

async function claimPoints(context: RunContext<Config>, found: readonly PointFindings[]): Promise<void> {
  const { manySteps, training, tangents } = context.config.points;
  const energy = (of: (one: PointFindings) => number): number => mean(found, of)!;
  const mf1 = energy(({ meanFlow }) => meanFlow[1]!.energy);
  const mf4 = energy(({ meanFlow }) => meanFlow[4]!.energy);
  const fm1 = energy(({ flowMatching }) => flowMatching[1]!.energy);
  const fmMany = energy(({ flowMatching }) => flowMatching[manySteps]!.energy);
  const floor = `floor ${thousandths(energy((one) => one.floor.energy))}e-3`;
  await context.claim('points-one-step', mf1 / fm1, `${thousandths(mf1)}e-3 against ${thousandths(fm1)}e-3; ${floor}`);
  await context.claim('points-many-steps', mf1 / fmMany, `${thousandths(mf1)}e-3 against ${thousandths(fmMany)}e-3; ${floor}`);
  if (training.p === 0) await context.claim('points-more-steps', mf4 / mf1, `${thousandths(mf4)}e-3 against ${thousandths(mf1)}e-3`);
  for (const name of tangents) {
    const pairs = found.map((one) => ({
      right: one.meanFlow[1]!.energy,
      wrong: one.tangents.find((tangent) => tangent.name === name)!.scores[1]!.energy,
    }));
    const detail = pairs.map(({ right, wrong }) => `${thousandths(wrong)}e-3 against ${thousandths(right)}e-3`).join('; ');
    await context.claim(tangentClaim('points', name), Math.min(...pairs.map(({ right, wrong }) => wrong / right)), detail);
  }
  await claimCost(context, 'points-cost', training.movingShare, found);
}

async function claimImages(context: RunContext<Config>, found: ImageFindings): Promise<void> {
  const { manySteps, training, data } = context.config.images;
  const { meanFlow, flowMatching, floor, guided } = found;
  const [mf1, fm1, fmMany] = [meanFlow[1]!, flowMatching[1]!, flowMatching[manySteps]!];
  const against = (a: number, b: number): string => `${a.toPrecision(3)} against ${b.toPrecision(3)}`;
  const atFloor = `floor ${floor.features.toPrecision(2)}`;
  await context.claim('images-one-step', mf1.features / fm1.features, `${against(mf1.features, fm1.features)}; ${atFloor}`);
  await context.claim('images-many-steps', mf1.features / fmMany.features, `${against(mf1.features, fmMany.features)}; ${atFloor}`);
  const shares = `MeanFlow ${mf1.share.toFixed(3)}, flow matching ${fmMany.share.toFixed(3)}, in one step ${fm1.share.toFixed(3)}; true images ${floor.share.toFixed(3)}`;
  await context.claim('images-class-share', mf1.share / fmMany.share, shares);
  if (data === 'mnist') await context.claim('images-judge', found.accuracy);
  const doubled = guided.filter(({ omega, kappa }) => omega / (1 - kappa) === 2);
  const [plain, mixed] = [doubled.find(({ kappa }) => kappa === 0), doubled.find(({ kappa }) => kappa === 0.5)];
  if (plain && mixed) {
    const [a, b] = [plain.scores[1]!.share, mixed.scores[1]!.share];
    const detail = `κ = 0 ${a.toFixed(3)}, κ = 0.5 ${b.toFixed(3)}, without guidance ${mf1.share.toFixed(3)}`;
    await context.claim('images-guidance', Math.min(a, b) - mf1.share, detail);
    await context.claim('images-guidance-mixing', Math.abs(a - b), detail);
  }
  for (const { name, scores } of found.tangents) {
    if (name === '0,0,1') continue;
    const wrong = scores[1]!.features;
    await context.claim(tangentClaim('images', name), wrong / mf1.features, against(wrong, mf1.features));
  }
  await claimCost(context, 'images-cost', training.movingShare, [found]);
}

async function claimCost(
  context: RunContext<Config>,
  id: string,
  movingShare: number,
  found: readonly Pick<PointFindings, 'msPerStep'>[],
): Promise<void> {
  const mf = mean(found, ({ msPerStep }) => msPerStep.meanFlow)!;
  const fm = mean(found, ({ msPerStep }) => msPerStep.flowMatching)!;
  await context.claim(id, mf / fm, `${mf.toFixed(1)} ms against ${fm.toFixed(1)} ms; 1 + share of moving rows is ${1 + movingShare}`);
}
