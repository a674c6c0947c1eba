import { crmShares, type BlockMetrics } from '@atelier/gs-jacobi';
import { permute } from '@atelier/tarflow';
import { disposeTree, tf, type Tensor } from '@atelier/tensor';
import type { RunContext } from '../src/runner/experiment.ts';
import { barChart } from '../src/pictures/bar-chart.ts';
import { heatMap, type HeatMapPanel } from '../src/pictures/heat-map.ts';
import { imageRows, type ImageRow } from '../src/pictures/image-rows.ts';
import type { Config } from './config.ts';
import { exactStrategy, type IterationTable } from './measures.ts';
import { draw, drawsFor, denoised, jacobi, named, sequential, type Draws, type Subject } from './sampling.ts';
import { scheduleChart, type Scheduled } from './schedule.ts';

type Context = RunContext<Config>;

/** Samples shown in a comparison. */
const SHOWN = 8;
/** What differences are multiplied by. */
const ENLARGED = 50;
/** The strategy that is drawn beside sequential sampling. */
export const SHOWN_STRATEGY = '[top-8-8-10]';

/** Sequential | GS-Jacobi | their difference × 50, before and after denoising. */
export async function drawComparison(context: Context, subject: Subject): Promise<void> {
  const draws = drawsFor(subject, context.rng.child('comparison'), SHOWN);
  const { sigma } = context.config.training;
  const exact = draw(subject, sequential(subject), draws).images;
  const close = draw(subject, named(subject, SHOWN_STRATEGY), draws, { tolerance: 0 }).images;
  const clean = [exact, close].map((images) => denoised(subject, images, draws.y, sigma)) as [Float32Array, Float32Array];
  disposeTree(draws);
  const [height, width] = subject.config.imageSize;
  const rows: ImageRow[] = [
    { label: 'sequential', images: exact },
    { label: SHOWN_STRATEGY, images: close },
    { label: `difference × ${ENLARGED}`, images: enlarged(exact, close) },
    { label: 'sequential, denoised', images: clean[0] },
    { label: `${SHOWN_STRATEGY}, denoised`, images: clean[1] },
    { label: `difference × ${ENLARGED}`, images: enlarged(...clean) },
  ];
  await context.figure(
    'comparison',
    imageRows(
      rows,
      { height, width, channels: subject.config.inChannels },
      { title: `Token by token, and by ${SHOWN_STRATEGY}`, tile: 64 },
    ),
    `Every column starts from the same noise. Differences are enlarged ${ENLARGED} times; grey is none.`,
  );
}

const enlarged = (a: Float32Array, b: Float32Array): Float32Array => a.map((value, i) => ENLARGED * (b[i]! - value));

/** Error of each token after each Jacobi iteration of each block, inverted from its exact input. */
export async function drawErrors(context: Context, subject: Subject): Promise<void> {
  const { sampler, model, T, K } = subject;
  const draws = drawsFor(subject, context.rng.child('errors'), SHOWN);
  const iterations = Math.min(T - 1, 48);
  const panels: HeatMapPanel[] = [];
  let z = sampler.prior(model, draws.noise);
  for (let block = K - 1; block >= 0; block--) {
    const { y } = draws;
    const { x } = sampler.blocks.invert(model, { block, plan: { method: 'sequential' }, z }, { y });
    const wanted = tf.tidy(() => permute(x, block).dataSync().slice()) as Float32Array;
    const values = new Float32Array(iterations * T);
    const look = ({ iteration, x: iterate }: { iteration: number; x: Tensor }): void => {
      values.set(errorOfTokens(iterate.dataSync() as Float32Array, wanted, T), (iteration - 1) * T);
    };
    const plan = { method: 'gs-jacobi', segments: 1, iterations, guess: 'z' } as const;
    const made = sampler.blocks.invert(model, { block, plan, z }, { y, tolerance: -1, onIteration: look }).x;
    tf.dispose([z, made]);
    z = x;
    panels.push({ title: `block ${block}`, note: block === K - 1 ? 'inverted first' : '', values, rows: iterations, columns: T });
  }
  tf.dispose([z]);
  disposeTree(draws);
  await context.figure(
    'error-by-token',
    heatMap(panels, {
      title: 'Error of each token after each Jacobi iteration',
      x: 'token, in the order of the block',
      y: 'iteration',
      scale: 'rms error',
      range: [1e-7, 1],
      first: [0, 1],
    }),
    'Every block is inverted from its exact input, starting from its noise. Below the diagonal tokens are exact whatever the guess was: token n after n iterations.',
  );
}

/** Root mean square over samples and values of x [B · T · D], for each token. */
function errorOfTokens(x: Float32Array, wanted: Float32Array, T: number): Float32Array {
  const D = x.length / T / SHOWN;
  const sums = new Float32Array(T);
  x.forEach((value, i) => {
    sums[Math.floor(i / D) % T]! += (value - wanted[i]!) ** 2;
  });
  return sums.map((sum) => Math.sqrt(sum / (SHOWN * D)));
}

/** What is evaluated when, for sequential sampling, one segment, a stack and the exact mode. */
export async function drawSchedule(context: Context, subject: Subject): Promise<void> {
  const { sampler, model, T } = subject;
  const draws: Draws = drawsFor(subject, context.rng.child('schedule'), 1);
  const ways = [
    { name: 'sequential', strategy: sequential(subject), tolerance: -1 },
    { name: 'Jacobi to ε = 1e-6', strategy: jacobi(subject, T), tolerance: 1e-6 },
    { name: SHOWN_STRATEGY, strategy: named(subject, SHOWN_STRATEGY), tolerance: -1 },
    {
      name: 'exact, with a proof for each token',
      strategy: exactStrategy(subject),
      tolerance: -1,
    },
  ];
  const rows = ways.map(({ name, strategy, tolerance }): Scheduled => {
    const { images, report } = sampler.sample(model, draws.noise, { strategy, y: draws.y, tolerance });
    images.dispose();
    return { name, note: `depth ${report.depth}, work ${report.work.toFixed(1)}`, blocks: report.blocks };
  });
  disposeTree(draws);
  await context.figure(
    'schedule',
    scheduleChart(rows, { T, title: 'What is evaluated when' }),
    'Length is latency, area is arithmetic: iterating multiplies the second to cut the first.',
  );
}

/** CRM%, IGM and iterations of every block. */
export async function drawMetrics(context: Context, metrics: readonly BlockMetrics[], iterations: IterationTable): Promise<void> {
  const { tolerance, batch } = context.config.iterations;
  await context.figure(
    'metrics',
    barChart(
      [
        { title: 'CRM, % of the sum', series: [{ name: 'CRM', values: crmShares(metrics) }] },
        {
          title: 'IGM',
          series: [
            { name: 'from the noise', values: metrics.map(({ igm }) => igm.z), color: 1 },
            { name: 'from zero', values: metrics.map(({ igm }) => igm.zero), color: 2 },
          ],
        },
        {
          title: `Jacobi iterations to ${tolerance.toExponential()}`,
          series: [
            { name: 'from the noise', values: iterations.z, color: 1 },
            { name: 'from zero', values: iterations.zero, color: 2 },
          ],
        },
      ],
      { title: 'How hard each block is, before and after', groups: metrics.map((_, k) => `block ${k}`) },
    ),
    `CRM and IGM over ${context.config.metricImages} clean images; iterations of ${batch} samples. The last block is inverted first.`,
  );
}
