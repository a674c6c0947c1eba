import { attention } from '@atelier/nn';
import { compile, disposeTree, tf, type Rng, type Tensor } from '@atelier/tensor';
import {
  applyWan,
  fineStage,
  initWan,
  keepFor,
  tileLayout,
  toTiles,
  vsaAttention,
  vsaStages,
  type Grid,
  type WanSettings,
} from '@atelier/vsa';
import { lineChart, type ChartSeries } from '../src/pictures/line-chart.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

const [HEADS, WIDTH, SIDE, VOLUME, FIXED] = [4, 64, 32, 64, 32];

/** Times of attention and of a step of sampling, and memory, against the number of tokens. */
export async function runSpeed(context: RunContext<Config>): Promise<void> {
  const { speed } = context.config;
  const rng = context.rng.child('speed');
  const rows: Times[] = [];
  for (const frames of speed.frames) {
    context.signal.throwIfAborted();
    rows.push(await attentionTimes(rng.child(frames), frames, speed));
    context.note(describe(rows.at(-1)!));
  }
  await drawTimes(context, rows, speed.sparsities);
  const compared = rows.find(({ frames }) => frames === speed.dense);
  if (compared?.dense !== undefined) {
    const { fixed, fine, dense, tokens } = compared;
    await context.claim('attention-speed', dense / fixed, describe(compared));
    await context.claim('arithmetic-rate', (dense * FIXED * VOLUME) / (fine * tokens), describe(compared));
  }
  await context.claim('growth', exponent(rows.map(({ tokens, fixed }) => [tokens, fixed])), rows.map(describe).join('; '));
  const { full, vsa } = await samplingTimes(rng.child('sampling'), speed);
  await context.claim(
    'sampling-time',
    full / vsa,
    `a step with full attention ${full.toFixed(0)} ms, with sparse attention ${vsa.toFixed(0)} ms`,
  );
}

type Speed = Config['speed'];
/** Least times in ms: of sparse attention with 32 tiles, of its fine stage, of dense attention, and of sparse attention at each sparsity. */
type Times = { frames: number; tokens: number; fixed: number; fine: number; dense?: number; sparse: number[]; megabytes: number };

const describe = ({ tokens, fixed, fine, dense, megabytes }: Times): string =>
  `${tokens} tokens: ${fixed.toFixed(0)} ms, fine stage ${fine.toFixed(0)} ms${dense === undefined ? '' : `, dense ${dense.toFixed(0)} ms`}, ${megabytes.toFixed(0)} MB`;

async function attentionTimes(rng: Rng, frames: number, speed: Speed): Promise<Times> {
  const grid: Grid = [frames, SIDE, SIDE];
  const layout = tileLayout(grid);
  const inputs = ['q', 'k', 'v'].map((name) => rng.child(name).normal([1, HEADS, layout.tokens, WIDTH])) as [Tensor, Tensor, Tensor];
  const tiled = inputs.map((x) => toTiles(x, layout)) as [Tensor, Tensor, Tensor];
  const keep = Math.min(FIXED, layout.tiles);
  const lists = tf.tidy(() => vsaStages(...inputs, { grid, keep }).lists);
  const sparse = (tiles: number) =>
    compile((q: Tensor, k: Tensor, v: Tensor) => vsaAttention(q, k, v, { grid, keep: tiles }), { idle: 'sleep' });
  const fine = compile((q: Tensor, k: Tensor, v: Tensor, chosen: Tensor) => fineStage(q, k, v, chosen, layout.sizes), { idle: 'sleep' });
  const dense = compile((q: Tensor, k: Tensor, v: Tensor) => attention(q, k, v), { idle: 'sleep' });
  const all = [sparse(keep), ...speed.sparsities.map((s) => sparse(keepFor(s, layout.tiles)))];
  const calls = [
    ...all.map((run) => () => run(...inputs)),
    () => fine(...tiled, lists),
    ...(frames <= speed.dense ? [() => dense(...inputs)] : []),
  ];
  try {
    const times = inTurns(calls, speed.turns);
    const [fixed, ...others] = times;
    return {
      frames,
      tokens: layout.tokens,
      fixed: fixed!,
      sparse: others.slice(0, speed.sparsities.length),
      fine: others[speed.sparsities.length]!,
      ...(frames <= speed.dense && { dense: others.at(-1)! }),
      megabytes: process.memoryUsage().rss / 2 ** 20,
    };
  } finally {
    for (const run of [...all, fine, dense]) run.dispose();
    tf.dispose([...inputs, ...tiled, lists]);
  }
}

/** A step of a video transformer with random weights, with dense attention and with 1/8 of the tiles. */
async function samplingTimes(rng: Rng, speed: Speed): Promise<{ full: number; vsa: number }> {
  const settings = {
    heads: HEADS,
    headDim: WIDTH,
    ffnDim: 4 * HEADS * WIDTH,
    layers: 4,
    inChannels: 4,
    patch: [1, 1, 1] as [number, number, number],
  };
  const z = rng.child('noise').normal([1, speed.sampled, SIDE, SIDE, 4]);
  const t = tf.tensor1d([0.5]);
  const networks = [false, true].map((gate) => {
    const own: WanSettings = { ...settings, gate };
    return { params: initWan(rng.child('init'), own), run: compile((p: ReturnType<typeof initWan>, x: Tensor, time: Tensor) => applyWan(p, x, { t: time }, own, gate ? { sparsity: 0.875 } : 'dense'), { idle: 'sleep' }) }; // prettier-ignore
  });
  try {
    const [full, vsa] = inTurns(networks.map(({ params, run }) => () => run(params, z, t)), speed.turns); // prettier-ignore
    return { full: full!, vsa: vsa! };
  } finally {
    for (const { params, run } of networks) {
      disposeTree(params);
      run.dispose();
    }
    tf.dispose([z, t]);
  }
}

/** The least time in ms of each call, in turns after a first one that does not count. */
function inTurns(calls: readonly (() => Tensor)[], turns: number): number[] {
  const least = calls.map(() => Infinity);
  for (let turn = 0; turn <= turns; turn++)
    calls.forEach((call, i) => {
      const began = performance.now();
      call().dispose();
      if (turn > 0) least[i] = Math.min(least[i]!, performance.now() - began);
    });
  return least;
}

/** The slope of log y over log x by least squares. */
function exponent(points: readonly (readonly [number, number])[]): number {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)] as const);
  const mean = (axis: 0 | 1): number => logs.reduce((sum, point) => sum + point[axis], 0) / logs.length;
  const [mx, my] = [mean(0), mean(1)];
  const along = logs.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0);
  return along / logs.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
}

async function drawTimes(context: RunContext<Config>, rows: readonly Times[], sparsities: readonly number[]): Promise<void> {
  const line = (name: string, value: (row: Times) => number | undefined): ChartSeries => ({
    name,
    points: rows.flatMap((row) => (value(row) === undefined ? [] : [[row.tokens, value(row)!] as const])),
  });
  const series = [
    line('dense', ({ dense }) => dense),
    ...sparsities.map((s, i) => line(`${100 * s} % sparse`, ({ sparse }) => sparse[i])),
    line('32 tiles', ({ fixed }) => fixed),
  ].filter(({ points }) => points.length > 0);
  const axes = { x: 'tokens', logX: true, logY: true, dots: true };
  await context.figure(
    'time',
    lineChart(series, { ...axes, title: 'milliseconds, forward' }),
    'Time of attention against the number of tokens.',
  );
  const memory = line('resident', ({ megabytes }) => megabytes);
  await context.figure(
    'memory',
    lineChart([memory], { ...axes, title: 'megabytes' }),
    'Resident memory of the process after attention of so many tokens; it only grows.',
  );
}
