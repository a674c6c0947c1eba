import { gather, imageSize, type ImageSet } from '@atelier/datasets';
import type { Rng } from '@atelier/tensor';
import type { ImageScores } from '../src/evaluation/image-scores.ts';
import { floats, labels } from '../src/evaluation/in-batches.ts';
import { classGrid, imageRows, tileOf, type ImageRow } from '../src/pictures/image-rows.ts';
import type { Ground, Scored } from './comparison.ts';
import { distanceChart } from './distance-chart.ts';
import { drawSamples, type Method } from './sampling.ts';
import type { ImageParams } from './networks.ts';
import type { Network } from './training.ts';

/** Columns of the comparison: enough to judge by, few enough to see. */
const COMPARED = 20;

type Scores = { readonly meanFlow: Scored<ImageParams, ImageScores>; readonly flowMatching: Scored<ImageParams, ImageScores> };

/** How samples for a picture are drawn. */
type Way = { readonly steps: number; readonly method: Method };

/** What the part on images shows: both methods side by side, samples of one step, and distances by the number of steps. */
export async function drawFindings(
  ground: Ground<ImageParams, ImageScores>,
  reference: ImageSet,
  found: Scores & { readonly floor: ImageScores },
): Promise<void> {
  const { context, network } = ground;
  const rng = context.rng.child('images');
  const name = reference.name.replace(/ .*/, '');
  await context.figure(
    'comparison',
    await comparison(ground, reference, found, rng, `${name}: one step of MeanFlow, and flow matching from the same noise`),
    'Every column starts from the same noise and asks for the same class; both networks have the same size and were trained on the same batches.',
  );
  const oneStep = samplesOf(network, found.meanFlow.params, { steps: 1, method: 'jumps' }, reference, rng);
  await context.figure(
    'one-step',
    await classGrid(reference, `${name}: one evaluation of the network per sample`, oneStep),
    'One-step samples of MeanFlow, not selected.',
  );
  await context.figure(
    'distances',
    distanceChart(`${name}: Fréchet distance in random features`, found, 'features'),
    'The dashed line is the distance between two sets of true images.',
  );
}

/** Draws samples of given classes; the noise depends only on `rng`. */
export function samplesOf(
  network: Network<ImageParams>,
  params: ImageParams,
  way: Way,
  set: ImageSet,
  rng: Rng,
): (y: Int32Array) => Promise<Float32Array> {
  return (y) => draw(network, params, way, set, rng.child('class grid').normals(y.length * imageSize(set)), y);
}

/** One row a method, all of them from the same noise and labels, below a row of true images. */
async function comparison(
  { network, manySteps }: Ground<ImageParams, ImageScores>,
  set: ImageSet,
  { meanFlow, flowMatching }: Scores,
  rng: Rng,
  title: string,
) {
  const perClass = Math.max(1, Math.floor(COMPARED / set.classes));
  const y = Int32Array.from({ length: perClass * set.classes }, (_, i) => Math.floor(i / perClass));
  const e = rng.child('comparison').normals(y.length * imageSize(set));
  const rows: ImageRow[] = [
    { label: 'true images', images: trueImages(set, y) },
    { label: 'MeanFlow, 1 step', images: await draw(network, meanFlow.params, { steps: 1, method: 'jumps' }, set, e, y) },
  ];
  for (const steps of [1, 2, 4, manySteps]) {
    const label = `flow matching, ${steps} ${steps === 1 ? 'step' : 'steps'}`;
    rows.push({ label, images: await draw(network, flowMatching.params, { steps, method: 'euler' }, set, e, y) });
  }
  const columnLabels = [...y].map((label, i) => (i % perClass === 0 ? set.classNames[label]! : ''));
  return imageRows(rows, set, { title, columnLabels, tile: tileOf(set) });
}

function draw(
  { apply }: Network<ImageParams>,
  params: ImageParams,
  way: Way,
  { height, width, channels }: ImageSet,
  e: Float32Array,
  y: Int32Array,
): Promise<Float32Array> {
  const noise = { e: floats(e, height, width, channels), y: labels(y) };
  return drawSamples(apply, params, noise, { ...way, batch: y.length });
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
