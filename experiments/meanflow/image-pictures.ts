import { gather, imageSize, type ImageSet } from '@atelier/datasets';
import type { AverageVelocity } from '@atelier/meanflow';
import type { Rng, Tree } from '@atelier/tensor';
import type { Picture } from '../src/runner/experiment.ts';
import { imageGrid } from '../src/pictures/image-grid.ts';
import { drawSamples, type Method } from './sampling.ts';

const COLUMNS = 10;
/** Columns of the comparison: enough to judge by, few enough to see. */
const COMPARED = 20;

type Drawing<P extends Tree> = { apply: (params: P) => AverageVelocity; params: P; steps: number; method: Method };

/** One row a class, ten samples each, from noise that `rng` alone decides. */
export async function classGrid<P extends Tree>(drawing: Drawing<P>, set: ImageSet, rng: Rng, title: string): Promise<Picture> {
  const count = COLUMNS * set.classes;
  const y = Int32Array.from({ length: count }, (_, i) => Math.floor(i / COLUMNS));
  const data = await draw(drawing, set, rng.child('class grid').normals(count * imageSize(set)), y);
  return imageGrid(asImages(data, set), { title, columns: COLUMNS, rowLabels: set.classNames, tile: tileOf(set) });
}

/** One row a method, all of them from the same noise and labels, below a row of true images. */
export async function comparison<P extends Tree>(
  rows: readonly (Drawing<P> & { label: string })[],
  set: ImageSet,
  rng: Rng,
  title: string,
): Promise<Picture> {
  const perClass = Math.max(1, Math.floor(COMPARED / set.classes));
  const y = Int32Array.from({ length: perClass * set.classes }, (_, i) => Math.floor(i / perClass));
  const e = rng.child('comparison').normals(y.length * imageSize(set));
  const parts = [trueImages(set, y)];
  for (const row of rows) parts.push(await draw(row, set, e, y));
  const data = new Float32Array(parts.length * e.length);
  parts.forEach((part, i) => data.set(part, i * e.length));
  return imageGrid(asImages(data, set), {
    title,
    columns: y.length,
    rowLabels: ['true images', ...rows.map(({ label }) => label)],
    columnLabels: [...y].map((label, i) => (i % perClass === 0 ? set.classNames[label]! : '')),
    tile: tileOf(set),
  });
}

function draw<P extends Tree>(
  { apply, params, steps, method }: Drawing<P>,
  set: ImageSet,
  e: Float32Array,
  y: Int32Array,
): Promise<Float32Array> {
  return drawSamples(apply, params, { e, y, shape: [set.height, set.width, set.channels] }, { steps, method, batch: y.length });
}

/** The first true images of the classes `y`. */
function trueImages(set: ImageSet, y: Int32Array): Float32Array {
  const next = new Array<number>(set.classes).fill(0);
  const indices = y.map((label) => {
    const at = set.labels.indexOf(label, next[label]);
    // A small set may lack a class or run out of it; then its first images are shown again.
    next[label] = at < 0 ? 0 : at + 1;
    return Math.max(0, at);
  });
  return gather(set, indices).x;
}

const asImages = (data: Float32Array, { height, width, channels }: ImageSet) => ({
  dtype: 'float32' as const,
  shape: [data.length / (height * width * channels), height, width, channels],
  data,
});

const tileOf = ({ width }: ImageSet): number => (width <= 8 ? 32 : 42);
