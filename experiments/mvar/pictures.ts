import type { ImageSet } from '@atelier/datasets';
import {
  attentionMacs,
  cacheBytes,
  ladders,
  lookUp,
  mvarConfig,
  neighborhoodIndex,
  publishedMvar,
  reconstruct,
  scalesOf,
  splitMaps,
  varSettings,
  type AttentionMass,
  type MvarConfig,
  type QuantizerParams,
} from '@atelier/mvar';
import { tf } from '@atelier/tensor';
import { floats } from '../src/evaluation/in-batches.ts';
import { imageGrid } from '../src/pictures/image-grid.ts';
import { lineChart, type ChartSeries } from '../src/pictures/line-chart.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';
import { colors } from './methods.ts';
import { batchOf, type TokenSet } from './token-set.ts';

type Context = RunContext<Config>;

/** Samples of the models, one below the other. A row has eight samples of one class. All models use the same random numbers. */
export async function samplePicture(
  context: Context,
  name: string,
  shown: readonly { label: string; images: Float32Array }[],
  set: ImageSet,
  title: string,
): Promise<void> {
  const labels = shown.flatMap(({ label }) => set.classNames.map((word) => `${label}, ${word}`));
  const data = new Float32Array(shown.reduce((sum, { images }) => sum + images.length, 0));
  let at = 0;
  for (const { images } of shown) {
    data.set(images, at);
    at += images.length;
  }
  const grid = imageGrid(floats(data, set.height, set.width, set.channels), {
    title: `Samples of ${title}`,
    columns: 8,
    rowLabels: labels,
  });
  await context.figure(name, grid, 'The first eight of each class, not selected; all models from the same random numbers.');
}

/** Token maps and running reconstructions of some images, scale by scale. */
export async function scalePicture(
  context: Context,
  codes: QuantizerParams,
  set: TokenSet,
  toImages: (latents: Float32Array) => Float32Array,
): Promise<void> {
  const { coding } = set;
  const scales = scalesOf(coding.ladder);
  const shown = 4;
  const found = tf.tidy(() => {
    const { tokens } = batchOf(
      set,
      Int32Array.from({ length: shown }, (_, i) => i),
    );
    const maps = splitMaps(tokens, coding.ladder);
    const latents = reconstruct(codes, maps, coding).map((value) => value.dataSync() as Float32Array);
    // A token as grey, by the first channel of its code: near codes look alike.
    const side = coding.ladder.at(-1)! * 4;
    const grey = maps.map((map, l) => {
      const first = tf.slice(lookUp(codes, map, scales[l]!), [0, 0, 0, 0], [-1, -1, -1, 1]);
      return tf.image
        .resizeNearestNeighbor(first as Parameters<typeof tf.image.resizeNearestNeighbor>[0], [side, side])
        .dataSync() as Float32Array;
    });
    return { latents, grey, side };
  });
  const columnLabels = scales.map(({ side }) => `${side} x ${side}`);
  const rowsOf = (byScale: readonly Float32Array[], size: number): Float32Array => {
    const out = new Float32Array(shown * scales.length * size);
    byScale.forEach((values, l) => {
      for (let i = 0; i < shown; i++) out.set(values.subarray(i * size, (i + 1) * size), (i * scales.length + l) * size);
    });
    return out;
  };
  const images = found.latents.map(toImages);
  const pixels = images[0]!.length / shown;
  const channels = pixels % 3 === 0 && Number.isInteger(Math.sqrt(pixels / 3)) ? 3 : 1;
  const side = Math.sqrt(pixels / channels);
  const options = { columns: scales.length, columnLabels };
  await context.figure(
    'reconstruction-by-scale',
    imageGrid(floats(rowsOf(images, pixels), side, side, channels), { ...options, title: 'What the tokens say up to each scale' }),
    'The running reconstruction of four images: each scale adds what the ones before left.',
  );
  const size = found.side * found.side;
  const grey = rowsOf(found.grey, size);
  const range = grey.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
  await context.figure(
    'token-maps',
    imageGrid(floats(grey, found.side, found.side, 1), { ...options, title: 'Token maps', range: [-range, range] }),
    'The first channel of the code of every token.',
  );
}

/** Which tokens a corner, a border and a middle token of the last scale see. */
export async function neighborhoodPicture(context: Context, config: MvarConfig | undefined): Promise<void> {
  if (config === undefined || config.refineStep >= config.ladder.length) return;
  const side = config.ladder.at(-1)!;
  const kernel = config.kernelSize;
  const index = neighborhoodIndex({ H: side, W: side, kernel });
  const queries = [0, Math.floor(side / 2), Math.floor(side / 2) * side + Math.floor(side / 2), side * side - 2];
  const data = new Float32Array(queries.length * side * side).fill(-1);
  queries.forEach((query, i) => {
    for (let j = 0; j < kernel * kernel; j++) data[i * side * side + index[query * kernel * kernel + j]!] = 0.2;
    data[i * side * side + query] = 1;
  });
  const grid = imageGrid(floats(data, side, side, 1), {
    title: `Windows of ${kernel} x ${kernel} in ${side} x ${side} tokens`,
    columnLabels: ['corner', 'border', 'middle', 'near a corner'],
    tile: 96,
  });
  await context.figure(
    'neighborhoods',
    grid,
    'White: the query; grey: the tokens that it sees. At borders a window moves inwards and keeps its size.',
  );
}

/** The figures that motivate the paper: how much attention of a trained VAR stays in the own scale, and near the query. */
export async function massPictures(context: Context, { byScale, byWindow }: AttentionMass, ladder: readonly number[]): Promise<void> {
  const series = byScale.slice(1).map((row, i): ChartSeries => ({
    name: `queries of ${ladder[i + 1]} x ${ladder[i + 1]}`,
    points: row.slice(0, i + 2).map((share, m) => [m + 1, share]),
  }));
  await context.figure(
    'attention-mass-by-scale',
    lineChart(series, {
      title: 'VAR: where attention goes, by scale of the keys',
      x: 'scale of the keys',
      y: 'share of the attention',
      dots: true,
    }),
    'Mean over heads, blocks and queries. The last point of each line is the own scale.',
  );
  const side = ladder.at(-1)!;
  await context.figure(
    'attention-mass-by-window',
    lineChart(
      [
        { name: 'trained VAR', color: colors.VAR, points: byWindow.map(({ side: window, share }) => [window, share]) },
        {
          name: 'if all tokens were alike',
          color: colors.MVAR + 1,
          points: byWindow.map(({ side: window }) => [window, (window / side) ** 2]),
          dashed: true,
        },
      ],
      { title: 'VAR: share of the own scale within a window', x: 'side of the window in tokens', y: 'share', dots: true },
    ),
    `Queries of the last scale, ${side} x ${side}; windows moved inwards at borders.`,
  );
}

/** Multiply-accumulates and cache of the published d16 models against resolution. */
export async function costPicture(context: Context): Promise<void> {
  const rows = ([256, 512] as const).map((pixels) => {
    const markov = publishedMvar(16, { ladder: ladders[pixels] });
    return { pixels, markov, causal: varSettings(markov) };
  });
  // 1024 pixels have no published model; windows of 7 from the first scale above 7 x 7 on.
  const large = { ...rows[0]!.markov, ladder: [...ladders[1024]], refineStep: ladders[1024].indexOf(9) };
  rows.push({ pixels: 1024 as never, markov: large, causal: varSettings(large) });
  const line = (of: (row: (typeof rows)[number]) => number): [number, number][] => rows.map((row) => [row.pixels, of(row)]);
  await context.figure(
    'cost-macs',
    lineChart(
      [
        { name: 'VAR', color: colors.VAR, points: line(({ causal }) => attentionMacs(causal) / 1e9) },
        { name: 'MVAR', color: colors.MVAR, points: line(({ markov }) => attentionMacs(mvarConfig.parse(markov)) / 1e9) },
      ],
      { title: 'Attention of the d16 models', x: 'side of the image in pixels', y: '10⁹ multiply-accumulates an image', dots: true },
    ),
    'Projections to q, k, v and both products, as in the tables of the paper. 1024 pixels: windows of 7 from 9 x 9 tokens on, our choice.',
  );
  await context.figure(
    'cost-cache',
    lineChart(
      [
        { name: 'VAR', color: colors.VAR, points: line(({ causal }) => cacheBytes(causal, 32, true) / 2 ** 30) },
        { name: 'MVAR', color: colors.MVAR, points: line(({ markov }) => cacheBytes(mvarConfig.parse(markov), 32, true) / 2 ** 30) },
      ],
      { title: 'Keys and values kept while sampling', x: 'side of the image in pixels', y: 'GiB for 32 guided images', dots: true },
    ),
  );
}
