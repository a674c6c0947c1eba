import {
  convergenceMetrics,
  crmShares,
  everywhere,
  meanGuesses,
  planStrategy,
  type BlockMeans,
  type BlockMetrics,
  type Plan,
  type Strategy,
  type WayToSample,
} from '@atelier/gs-jacobi';
import { disposeTree, tf, type Rng } from '@atelier/tensor';
import type { ImageStream } from '../src/data/image-stream.ts';
import { median } from 'd3-array';
import type { RunContext } from '../src/runner/experiment.ts';
import { machineName } from '../src/runner/machine.ts';
import type { Config } from './config.ts';
import {
  byBlock,
  draw,
  drawsFor,
  jacobi,
  largestDifference,
  named,
  rootMeanSquare,
  sequential,
  type Draws,
  type Subject,
} from './sampling.ts';

type Context = RunContext<Config>;

/** CRM and IGM of every block over clean images, and what the table says. */
export async function measureMetrics(context: Context, subject: Subject, data: ImageStream): Promise<BlockMetrics[]> {
  const { metricImages } = context.config;
  const metrics = await context.stage('metrics', () => {
    const { x, y } = data.some(context.rng.child('metric images'), metricImages);
    const found = convergenceMetrics(subject.model, x, subject.config);
    disposeTree([x, y]);
    return found.map(({ igm, ...rest }) => ({ ...rest, igm: { ...igm } }));
  });
  const shares = crmShares(metrics);
  context.note(`CRM and IGM over ${metricImages} images, block 0 first:`);
  metrics.forEach(({ crm, igm }, k) =>
    context.note(
      `  block ${k}: CRM ${crm.toFixed(2)} (${shares[k]!.toFixed(1)} %), IGM ${igm.z.toFixed(2)} from the noise, ${igm.zero.toFixed(2)} from zero`,
    ),
  );
  return metrics;
}

/** Jacobi iterations to the tolerance of every block, block 0 first, and the largest difference from the sequential images. */
export type IterationTable = { z: number[]; zero: number[]; difference: number };

export async function measureIterations(context: Context, subject: Subject): Promise<IterationTable> {
  const { batch, tolerance } = context.config.iterations;
  const table = await context.stage('iterations', () => {
    const draws = drawsFor(subject, context.rng.child('iterations'), batch);
    const exact = draw(subject, sequential(subject), draws).images;
    const differences: number[] = [];
    const counts = (['z', 'zero'] as const).map((guess) => {
      const strategy = jacobi(subject, subject.T, guess);
      const { images, report } = subject.sampler(subject.model, draws.noise, { strategy, y: draws.y, tolerance });
      differences.push(largestDifference(images.dataSync() as Float32Array, exact));
      images.dispose();
      return byBlock(report.blocks.map(({ segments }) => segments![0]!.iterations));
    });
    disposeTree(draws);
    return { z: counts[0]!, zero: counts[1]!, difference: Math.max(...differences) };
  });
  context.note(
    `Jacobi iterations to ${tolerance.toExponential()}, batch ${batch}, block 0 first: ${table.z.join(', ')} from the noise, ${table.zero.join(', ')} from zero`,
  );
  context.note(`largest difference from the sequential images: ${table.difference.toExponential(1)}`);
  return table;
}

/** The exact mode: its largest difference from the sequential images, what it took, and the largest residual that its proofs leave. */
export type ExactFindings = {
  difference: number;
  depth: number;
  sequentialDepth: number;
  work: number;
  confirmed: number;
  residual: number;
};

/** Windows of a quarter of the tokens: those whose guesses are confirmed are final, and never evaluated again. */
export const exactStrategy = ({ K, T }: Subject): Strategy => everywhere(K, { method: 'exact', window: Math.max(1, Math.round(T / 4)) });

export async function measureExact(context: Context, subject: Subject): Promise<ExactFindings> {
  const { batch } = context.config.iterations;
  const found = await context.stage('exact', (): ExactFindings => {
    const draws = drawsFor(subject, context.rng.child('iterations'), batch);
    const known = draw(subject, sequential(subject), draws);
    const { images, report } = subject.sampler(subject.model, draws.noise, { strategy: exactStrategy(subject), y: draws.y });
    const difference = largestDifference(images.dataSync() as Float32Array, known.images);
    const proofs = report.blocks.map(({ exact }) => exact!.proof);
    // Token 0 is given; every other one is final only once an evaluation has made it so.
    const unproven = proofs.reduce((sum, { evaluation }) => sum + evaluation.subarray(1).filter((at) => at === 0).length, 0);
    if (unproven > 0) throw new Error(`gs-jacobi: exact mode: wanted an evaluation for every token, got ${unproven} without`);
    disposeTree([images, draws]);
    return {
      difference,
      depth: report.depth,
      sequentialDepth: known.depth,
      work: report.work,
      confirmed: proofs.reduce((sum, proof) => sum + proof.confirmed.reduce((a, b) => a + b, 0), 0) / (subject.K * (subject.T - 1)),
      residual: proofs.reduce((most, { residual }) => residual.reduce((a, b) => Math.max(a, b), most), 0),
    };
  });
  context.note(
    `exact mode, batch ${batch}: depth ${found.depth} of ${found.sequentialDepth}, work ${found.work.toFixed(1)}; ${(100 * found.confirmed).toFixed(1)} % of the tokens had been guessed right, largest residual ${found.residual.toExponential(1)}`,
  );
  return found;
}

/** A strategy against the sequential samples. */
export type StrategyRow = { name: string; depth: number; work: number; rmse: number };

export async function measureStrategies(context: Context, subject: Subject): Promise<{ sequentialDepth: number; rows: StrategyRow[] }> {
  const { batch, names } = context.config.strategies;
  const table = await context.stage('strategies', () => {
    const draws = strategyDraws(context, subject);
    const exact = draw(subject, sequential(subject), draws);
    const rows = names.map((name): StrategyRow => {
      context.signal.throwIfAborted();
      const { images, depth, work } = draw(subject, named(subject, name), draws, { tolerance: 0 });
      return { name, depth, work, rmse: rootMeanSquare(images, exact.images) };
    });
    disposeTree(draws);
    return { sequentialDepth: exact.depth, rows };
  });
  context.note(`strategies, batch ${batch}, against sequential sampling of depth ${table.sequentialDepth}:`);
  for (const { name, depth, work, rmse } of table.rows)
    context.note(
      `  ${name.padEnd(16)} depth ${String(depth).padStart(4)} (${(table.sequentialDepth / depth).toFixed(1)} times less)  work ${work.toFixed(1).padStart(5)}  error ${rmse.toExponential(1)}`,
    );
  return table;
}

export const strategyDraws = (context: Context, subject: Subject): Draws =>
  drawsFor(subject, context.rng.child('strategies'), context.config.strategies.batch);

export interface Planned {
  readonly plan: Plan;
  /** Error of the worst sample of those that it was planned on, and of others. */
  readonly planned: number;
  readonly heldOut: number;
  readonly depth: number;
}

/** A strategy by the planner for single samples, and its error on noise that it has not seen. */
export async function measurePlanner(
  context: Context,
  subject: Subject,
  metrics: readonly BlockMetrics[],
  means: BlockMeans[],
): Promise<Planned> {
  const { rmse, pilots } = context.config.planner;
  const found = await context.stage('planner', () => {
    const rng = context.rng.child('planner');
    const y = tf.tensor1d([0], 'int32');
    const noise = Array.from({ length: pilots }, (_, i) => rng.child('pilots').child(i).normal([1, subject.T, subject.D]));
    const plan = planStrategy(subject.sampler, subject.model, noise, {
      metrics,
      goal: { rmse },
      now: () => performance.now(),
      machine: machineName(),
      options: { y, means },
    });
    let heldOut = 0;
    let depth = 0;
    for (let i = 0; i < pilots; i++) {
      const draws = { noise: rng.child('held out').child(i).normal([1, subject.T, subject.D]), y };
      const exact = draw(subject, sequential(subject), draws).images;
      const { images, report } = subject.sampler(subject.model, draws.noise, { plan, y, means });
      heldOut = Math.max(heldOut, rootMeanSquare(images.dataSync() as Float32Array, exact));
      depth = Math.max(depth, report.depth);
      tf.dispose([images, draws.noise]);
    }
    disposeTree([y, ...noise]);
    return { plan: JSON.stringify(plan), planned: plan.measured.worst, heldOut, depth };
  });
  const planned = { ...found, plan: JSON.parse(found.plan) as Plan };
  const words = planned.plan.strategy.map((plan) =>
    plan.method === 'gs-jacobi' ? `${String(plan.segments)} x ${plan.iterations} from ${plan.guess}` : 'sequential',
  );
  context.note(`planned for an error of ${rmse}: ${words.join('; ')} (${planned.plan.reason})`);
  context.note(`  worst of ${pilots} new samples ${planned.heldOut.toExponential(1)}`);
  return planned;
}

/** Means of every block over sequential samples. */
export function sampleMeans(context: Context, subject: Subject): BlockMeans[] {
  const { noise, y } = drawsFor(subject, context.rng.child('means'), 16);
  const { images } = subject.sampler(subject.model, noise, { strategy: sequential(subject), y });
  const means = meanGuesses(subject.model, images, subject.config, { y });
  tf.dispose([noise, y, images]);
  return means;
}

export type Timed = { name: string; batch: number; ms: number; depth: number; work: number };

/** Times of whole samples, the median of five; what runs beside them on the machine shows. */
export async function measureTimes(context: Context, subject: Subject, planned: Planned, means: BlockMeans[], rng: Rng): Promise<Timed[]> {
  const ways: { name: string; way: WayToSample }[] = [
    { name: 'sequential', way: { strategy: sequential(subject) } },
    { name: 'jacobi-30', way: { strategy: jacobi(subject, 30) } },
    { name: '[top-8-8-10]', way: { strategy: named(subject, '[top-8-8-10]') } },
    { name: 'exact', way: { strategy: exactStrategy(subject) } },
    // Batches of another size than the plan's are drawn token by token.
    { name: 'planned', way: { plan: planned.plan } },
  ];
  const rows: Timed[] = [];
  for (const batch of context.config.timing) {
    rows.push(
      ...(await context.stage(`times-${batch}`, () => {
        const { noise, y } = drawsFor(subject, rng.child('times'), batch);
        const found = ways.map(({ name, way }): Timed => {
          context.signal.throwIfAborted();
          const run = (): { depth: number; work: number } => {
            const { images, report } = subject.sampler(subject.model, noise, { ...way, y, means, tolerance: -1 });
            images.dataSync();
            images.dispose();
            return report;
          };
          const { depth, work } = run();
          const times = [0, 1, 2, 3, 4].map(() => {
            const start = performance.now();
            run();
            return performance.now() - start;
          });
          return { name, batch, depth, work, ms: median(times)! };
        });
        disposeTree([noise, y]);
        return found;
      })),
    );
  }
  for (const { name, batch, ms, depth, work } of rows)
    context.note(
      `  batch ${String(batch).padStart(2)}, ${name.padEnd(13)} depth ${String(depth).padStart(4)}  work ${work.toFixed(1).padStart(5)}  ${ms.toFixed(1)} ms`,
    );
  return rows;
}
