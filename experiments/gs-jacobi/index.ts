import { disposeTree, type Tree } from '@atelier/tensor';
import { imageStream } from '../src/data/image-stream.ts';
import { defineExperiment, type RunContext } from '../src/runner/experiment.ts';
import { claims } from './claims.ts';
import { configSchema, type Config } from './config.ts';
import { drawers } from './drawers.ts';
import {
  measureExact,
  measureIterations,
  measureMetrics,
  measurePlanner,
  measureStrategies,
  measureTimes,
  sampleMeans,
  strategyDraws,
  type IterationTable,
  type StrategyRow,
} from './measures.ts';
import { makeModel } from './model.ts';
import { drawComparison, drawErrors, drawMetrics, drawSchedule, SHOWN_STRATEGY } from './pictures.ts';
import { presets } from './presets.ts';
import { denoised, draw, named, rootMeanSquare, sequential, subjectOf, type Subject } from './sampling.ts';

type Context = RunContext<Config>;

/** Compares GS-Jacobi with sequential sampling of a TarFlow: which blocks are hard, what is saved, and what error remains. */
export const gsJacobi = defineExperiment<Config>({
  name: 'gs-jacobi',
  paper: { slug: 'gs-jacobi', title: 'Accelerate TarFlow Sampling with GS-Jacobi Iteration', arxiv: '2505.12849' },
  title: 'An autoregressive flow sampled by iteration: GS-Jacobi beside token by token',
  schema: configSchema,
  presets,
  claims,
  drawers,
  tour: { preset: 'smoke', shows: 'a flow that is made to be sampled token by token, sampled in parallel', figure: 'comparison' },
  async run(context) {
    const { config, rng } = context;
    const data = await imageStream(config.data, config.side, config.training.batch, rng.child('data'));
    const subject = subjectOf(await makeModel(context, data));
    const metrics = await measureMetrics(context, subject, data);
    const iterations = await measureIterations(context, subject);
    await context.claim('converges', iterations.difference);
    const exact = await measureExact(context, subject);
    await context.claim('exact', exact.difference, `depth ${exact.depth} of ${exact.sequentialDepth}, work ${exact.work.toFixed(1)}`);
    await claimBlocks(
      context,
      metrics.map(({ crm }) => crm),
      iterations,
      subject.T,
    );
    const { sequentialDepth, rows } = await measureStrategies(context, subject);
    await claimStrategies(context, rows, sequentialDepth);
    if (context.measures('denoised')) await claimDenoised(context, subject);
    if (context.measures('planner')) {
      const means = sampleMeans(context, subject);
      const planned = await measurePlanner(context, subject, metrics, means);
      await context.claim(
        'planner',
        planned.heldOut / context.config.planner.rmse,
        `${planned.heldOut.toExponential(1)}, depth ${planned.depth}`,
      );
      await measureTimes(context, subject, planned, means, context.rng);
      disposeTree(means);
    }
    await drawMetrics(context, metrics, iterations);
    await drawErrors(context, subject);
    await drawSchedule(context, subject);
    await drawComparison(context, subject);
    subject.sampler.dispose();
    disposeTree(subject.model as Tree);
  },
});

async function claimBlocks(context: Context, crm: readonly number[], iterations: IterationTable, T: number): Promise<void> {
  const tough = crm.indexOf(Math.max(...crm));
  const others = (counts: readonly number[]): number => Math.max(...counts.filter((_, k) => k !== tough));
  const words = ({ z, zero }: IterationTable): string =>
    `block ${tough}: ${z[tough]}, others at most ${others(z)}, of ${T} tokens; from zero ${zero[tough]} and ${others(zero)}`;
  await context.claim('tough-block', iterations.z[tough]! / others(iterations.z), words(iterations));
  await context.claim('easy-blocks', others(iterations.z) / T, words(iterations));
}

async function claimStrategies(context: Context, rows: readonly StrategyRow[], sequentialDepth: number): Promise<void> {
  const errorOf = (name: string): number | undefined => rows.find((row) => row.name === name)?.rmse;
  const ratio = async (id: string, of: string, to: string): Promise<void> => {
    const [a, b] = [errorOf(of), errorOf(to)];
    if (a !== undefined && b !== undefined) await context.claim(id, a / b, `${a.toExponential(1)} against ${b.toExponential(1)}`);
  };
  await ratio('equal-work', '[top-8-8-10]', 'jacobi-10');
  await ratio('equal-depth', '[top-2-16-10]', 'jacobi-15');
  await ratio('right-block', '[top-2-8-5]', '[0-2-8-5]');
  for (const [id, error] of [
    ['depth-close', 1e-3],
    ['depth-near', 1e-2],
  ] as const) {
    const within = rows.filter(({ rmse }) => rmse < error).sort((a, b) => a.depth - b.depth);
    const best = within[0];
    await context.claim(
      id,
      best === undefined ? 0 : sequentialDepth / best.depth,
      best === undefined ? 'no strategy' : `${best.name}, depth ${best.depth}`,
    );
  }
}

async function claimDenoised(context: Context, subject: Subject): Promise<void> {
  const found = await context.stage('denoised', () => {
    const draws = strategyDraws(context, subject);
    const { sigma } = context.config.training;
    const [exact, close] = [sequential(subject), named(subject, SHOWN_STRATEGY)].map((strategy) =>
      denoised(subject, draw(subject, strategy, draws, { tolerance: 0 }).images, draws.y, sigma),
    ) as [Float32Array, Float32Array];
    disposeTree(draws);
    return { rmse: rootMeanSquare(exact, close) };
  });
  await context.claim('denoised', found.rmse);
}
