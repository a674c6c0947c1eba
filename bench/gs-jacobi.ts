/**
 * `pnpm bench gs-jacobi`: samples of a TarFlow by GS-Jacobi compared with sequential sampling. Both are compiled, cache keys and values,
 * use the same weights and noise, and take turns. It also compares the planner's strategy with the best strategy of a small grid, which is
 * searched completely. The table has depth, work, time, and error compared with the sequential sample. Every plan draws batches that were
 * not used for planning, and the error of its worst sample is compared with the goal. If a row misses its bound, this is reported, the
 * other rows are still measured, and the exit code is 1.
 */
import { everywhere, planStrategy, type Plan } from '@atelier/gs-jacobi';
import { useEngine } from '@atelier/tensor';
import { benchArguments, runBench, type BenchArguments } from './harness/arguments.ts';
import { contest, inProcess, median, type Times } from './harness/contest.ts';
import { machineDescription } from './harness/machine.ts';
import { ms, report, speedRow, type ReportRow } from './harness/report.ts';
import {
  draw,
  errorsOf,
  exhaustiveGrid,
  modelA,
  rootMeanSquare,
  sequentially,
  shortlyTrained,
  type SampledModel,
  type Way,
} from './workloads/gs-jacobi.ts';

/** The largest root mean square error of an image, compared with the sequential image. */
const GOAL = 1e-3;
/** Wanted speed-up. The best speed-up in the paper is 5.32, on eight GPUs. */
const BOUND = 5.4;
/** Bound for a plan that should not be slower than sequential sampling. */
const NOT_SLOWER = 1;
/** The planner's strategy may take 15 % more time than the best of the grid. */
const PLANNER_BOUND = 1 / 1.15;
/** Smallest number of samples for planning, and number of other batches for measuring the error. */
const PILOTS = 16;
const UNSEEN = 32;
/** Number of strategies of the grid that are timed again, in turns with the planner's. */
const FINALISTS = 3;

const MODELS = {
  '1024-tokens': { load: () => shortlyTrained({ steps: 60, batch: 4 }), bound: BOUND, window: 128 },
  'model-a': { load: modelA, bound: NOT_SLOWER, window: 32 },
} as const;

await runBench(async () => {
  const args = benchArguments(process.argv.slice(2), Object.keys(MODELS), 'gs-jacobi');
  console.log(machineDescription());
  await useEngine('ort');
  const rows: ReportRow[] = [];
  for (const [name, { load, bound, window }] of Object.entries(MODELS)) {
    if (args.only !== undefined && args.only !== name) continue;
    const sampled = await load();
    const { imageSize, width, blocks, layers } = sampled.sampler.config;
    console.log(`\n${name}: images of ${imageSize.join(' x ')}, ${blocks} blocks of ${layers} layers, width ${width}; ${sampled.about}`);
    const exact: Way = { name: 'exact', way: { strategy: everywhere(blocks, { method: 'exact', window }) } };
    const single = plan(sampled, 1, sampled.means);
    const published = plan(sampled, 1, undefined);
    const others: Way[] = [{ name: 'planned, only published guesses', way: { plan: published } }, exact];
    rows.push(...(await measured(name, sampled, { plan: single, others, bound, args })));
    rows.push(await againstGrid(name, sampled, single, args.contest));
    // A batch of 16 takes seconds token by token. So only the plan is measured, and only a few times.
    const few = { ...args, contest: { ...args.contest, rounds: Math.min(3, args.contest.rounds), warmUpMs: 1 } };
    rows.push(...(await measured(name, sampled, { plan: plan(sampled, 16, sampled.means), others: [], bound: NOT_SLOWER, args: few })));
    sampled.sampler.dispose();
  }
  report(rows, args.json);
  if (rows.some(({ ratio, bound }) => ratio < bound)) process.exitCode = 1;
});

/** A plan for a batch size. It may use the guess `mean` if `means` are given. */
function plan(sampled: SampledModel, batch: number, means: SampledModel['means'] | undefined): Plan {
  const { sampler, model, metrics, noise } = sampled;
  const pilots = Array.from({ length: Math.max(2, PILOTS / batch) }, (_, i) => noise(`pilot ${i}`, batch));
  const start = performance.now();
  const found = planStrategy(sampler, model, pilots, {
    metrics,
    goal: { rmse: GOAL },
    now: () => performance.now(),
    machine: machineDescription(),
    ...(means && { options: { means } }),
  });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const { worst, samples } = found.measured;
  const errors = found.method === 'sequential' ? '' : `, worst error of ${samples} ${worst.toExponential(1)}`;
  console.log(`  batch ${batch}, planned${means ? '' : ' with published guesses'} in ${seconds} s${errors}: ${words(found)}`);
  console.log(`    ${found.reason}`);
  return found;
}

/**
 * Times a plan and other strategies in turns with sequential sampling. Measures the errors of the plan on batches that were not used for
 * planning.
 */
async function measured(
  name: string,
  sampled: SampledModel,
  { plan, others, bound, args }: { plan: Plan; others: readonly Way[]; bound: number; args: BenchArguments },
): Promise<ReportRow[]> {
  const { batch } = plan.madeFor;
  const noise = sampled.noise(`held out ${batch}`, batch);
  const ways: Way[] = [
    { name: 'sequential', way: sequentially(sampled) },
    ...(plan.method === 'sequential' ? [] : [{ name: 'planned', way: { plan } }]),
    ...others.filter(({ way }) => way.plan?.method !== 'sequential'),
  ];
  const times = await contest(
    ways.map(({ name: of, way }) => inProcess(of, () => void draw(sampled, way, noise))),
    args.contest,
  );
  const exact = draw(sampled, ways[0]!.way, noise).data;
  const notes = ways.map(({ way }) => describe(sampled, way, noise, exact));
  console.log(`  batch ${batch}`);
  ways.forEach((way, i) => console.log(`    ${way.name.padEnd(33)} ${notes[i]!}  ${ms(times[i]!.median)}`));
  const label = `${name}, batch ${batch}`;
  const rows = ways.slice(1).map((way, i) => {
    const sides = { ours: times[i + 1]!, theirs: times[0]! };
    return speedRow(`${label}, ${way.name}`, sides, way.name === 'planned' ? bound : 0, notes[i + 1]!);
  });
  if (plan.method === 'sequential') {
    const time = ms(times[0]!.median);
    // The plan is sequential sampling itself.
    rows.unshift({
      name: `${label}, planned`,
      peer: 'sequential',
      ratio: 1,
      bound,
      ours: time,
      theirs: time,
      note: 'the plan is sequential',
    });
  }
  return [...rows, errorRow(label, sampled, plan)];
}

/** Compares the worst sample of the batches that were not used for planning with the goal. */
function errorRow(label: string, sampled: SampledModel, plan: Plan): ReportRow {
  const { batch } = plan.madeFor;
  const drawn = Array.from({ length: UNSEEN }, (_, i) => errorsOf(sampled, { plan }, sampled.noise(`unseen ${i}`, batch)));
  const errors = drawn.flatMap((one) => one.errors);
  const worst = Math.max(...errors);
  const depths = drawn.map(({ depth }) => depth);
  return {
    name: `${label}, worst error`,
    peer: 'the goal',
    // A sequential plan has the error 0. All errors below a thousandth of the goal give the same ratio.
    ratio: GOAL / Math.max(worst, GOAL / 1000),
    bound: 1,
    ours: worst.toExponential(1),
    theirs: GOAL.toExponential(0),
    note: `${errors.length} samples of ${UNSEEN} unseen batches, median ${median(errors).toExponential(1)}, depth ${Math.min(...depths)} … ${Math.max(...depths)}`,
  };
}

/** Times the plan and the fastest strategies of the grid in turns, on noise that was used for choosing neither of them. */
async function againstGrid(name: string, sampled: SampledModel, plan: Plan, options: Parameters<typeof contest>[1]): Promise<ReportRow> {
  const joined = { ...sampled, unroll: plan.options.unroll };
  const { tried, within } = exhaustiveGrid(joined, sampled.noise('grid', 1), GOAL);
  const noise = sampled.noise('held out 1', 1);
  const exact = draw(sampled, sequentially(sampled), noise).data;
  const ways: Way[] = [{ name: 'planned', way: { plan } }, ...within.slice(0, FINALISTS)];
  const times = await contest(
    ways.map(({ name: of, way }) => inProcess(of, () => void draw(joined, way, noise))),
    options,
  );
  console.log(`  grid: ${tried} strategies tried, ${within.length} with an error of at most ${GOAL}; the planner's and the fastest:`);
  ways.forEach((way, i) => console.log(`    ${way.name.padEnd(33)} ${describe(joined, way.way, noise, exact)}  ${ms(times[i]!.median)}`));
  const best = times.slice(1).reduce<Times>((a, b) => (b.median < a.median ? b : a), times[1]!);
  return speedRow(`${name}, planner against the grid`, { ours: times[0]!, theirs: best }, PLANNER_BOUND);
}

function describe(sampled: SampledModel, way: Way['way'], noise: Parameters<typeof draw>[2], exact: Float32Array): string {
  const { data, depth, work } = draw(sampled, way, noise);
  const error = rootMeanSquare(data, exact).toExponential(1);
  return `depth ${String(depth).padStart(4)}  work ${work.toFixed(1).padStart(5)}  error ${error}`;
}

/** A strategy as text. For example, `2 x 3 mean` is two segments of three iterations from the guess `mean`. */
function words({ method, strategy }: Plan): string {
  if (method === 'sequential') return 'sequential';
  return strategy
    .map((plan) => (plan.method === 'gs-jacobi' ? `${String(plan.segments)} x ${plan.iterations} ${plan.guess}` : plan.method))
    .join(', ');
}
