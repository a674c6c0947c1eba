import { join } from 'node:path';
import {
  checkNumber,
  compile,
  disposeTree,
  Rng,
  toHost,
  toTensor,
  unknown,
  type Compiled,
  type HostTensor,
  type Tensor,
} from '@atelier/tensor';
import { imageGrid } from '../pictures/image-grid.ts';
import { scatterGrid } from '../pictures/scatter-grid.ts';
import { filmStrip } from '../pictures/videos.ts';
import { CheckpointFolder } from './checkpoint.ts';
import { experimentConfig } from './config.ts';
import { StopError } from './errors.ts';
import type { Drawer, Experiment, NamedDrawer, Picture } from './experiment.ts';
import { RunFolder } from './run-folder.ts';
import { findExperiment } from './run.ts';

/** What is asked of a run. */
export interface DrawRequest {
  /** One of the networks of the run; the first if absent. */
  readonly model?: string | undefined;
  /** Number of samples. */
  readonly n: number;
  readonly steps?: number | undefined;
  /** Classes by name or number, joined by commas, in turn; all in turn if absent. */
  readonly classes?: string | undefined;
  /** Seed of the random numbers. */
  readonly seed: number;
  /** Number of a batch, where the samples of one seed are drawn in several; 0 if absent. */
  readonly part?: number;
}

/** A network of a run that is ready to draw. */
export interface OpenedRun {
  readonly experiment: Experiment;
  readonly folder: RunFolder;
  readonly name: string;
  readonly drawer: Drawer;
}

/** The most samples that are drawn side by side. */
const MOST = 4096;

/** The networks of a run that can be drawn from, the one to show first. @throws StopError if there are none, or the run is not finished */
function drawersOf(experiment: Experiment, { record, path }: RunFolder): readonly NamedDrawer[] {
  if (record.status !== 'finished') throw new StopError(`${record.id}: wanted a finished run, got one that is ${record.status}`);
  const config = experimentConfig(join(path, 'run.json'), experiment, record.config);
  const checkpoints = new CheckpointFolder(join(path, 'checkpoints'));
  const found = experiment.drawers?.({ config, rng: new Rng(record.seed), checkpoints }) ?? [];
  if (found.length === 0) throw new StopError(`${record.id}: has trained no network that draws samples`);
  return found;
}

/** Opens a network of a finished run. @throws StopError that names what is wrong, or the nearest network */
export async function openRun(experiments: readonly Experiment[], runs: string, run: string, model?: string): Promise<OpenedRun> {
  const folder = RunFolder.open(runs, run);
  const experiment = findExperiment(experiments, folder.record.experiment);
  const found = drawersOf(experiment, folder);
  const names = found.map(({ name }) => name);
  const chosen = model === undefined ? found[0]! : found.find(({ name }) => name === model);
  if (chosen === undefined) throw new StopError(unknown(`model of ${folder.record.id}`, model!, names));
  return { experiment, folder, name: chosen.name, drawer: await chosen.open() };
}

/** The inputs of `draw` on the host, and the number of steps. The random numbers depend on the seed, the steps and n only. */
export async function drawInputs(
  { drawer, name }: OpenedRun,
  { n, steps: asked, classes, seed, part = 0 }: DrawRequest,
): Promise<{ inputs: Record<string, HostTensor>; steps: number }> {
  const where = `sample of '${name}'`;
  checkNumber(`${where}: n`, n, { integer: true, min: 1, max: MOST });
  checkNumber(`${where}: seed`, seed, { integer: true, min: 0 });
  if (asked !== undefined) checkNumber(`${where}: steps`, asked, { integer: true, min: 1, max: 1000 });
  if (asked !== undefined && drawer.steps === undefined)
    throw new StopError(`${where}: steps: wanted none, for their number belongs to the network, got ${asked}`);
  const steps = asked ?? drawer.steps ?? 1;
  const whole = new Rng(seed).child('samples');
  const rng = part === 0 ? whole : whole.child(`part ${part}`);
  const inputs: Record<string, HostTensor> = {};
  for (const [key, { shape, law }] of Object.entries(drawer.noise(n, steps))) {
    const drawn = law === 'normal' ? rng.child(key).normal(shape) : rng.child(key).uniform(shape);
    inputs[key] = await toHost(drawn);
    drawn.dispose();
  }
  const cycle = classNumbers(where, drawer.classNames, classes);
  if (cycle.length > 0)
    inputs['y'] = { dtype: 'int32', shape: [n], data: Int32Array.from({ length: n }, (_, i) => cycle[i % cycle.length]!) };
  return { inputs, steps };
}

/** The numbers of the classes that are asked for. A name comes before a number. */
function classNumbers(where: string, names: readonly string[], asked: string | undefined): number[] {
  if (asked === undefined) return names.map((_, i) => i);
  if (names.length === 0) throw new StopError(`${where}: class: wanted none, for the network has no classes, got '${asked}'`);
  return asked.split(',').map((word) => {
    const at = names.indexOf(word.trim());
    if (at >= 0) return at;
    if (/^\d+$/.test(word.trim()) && Number(word) < names.length) return Number(word);
    throw new StopError(`${where}: ${unknown('class', word.trim(), names)}`);
  });
}

/** The whole sampler as one function of its inputs; compiled, it is one graph that holds the weights. */
export function compileDrawer({ drawer, name }: OpenedRun, steps: number): Compiled<[Record<string, Tensor>], { samples: Tensor }> {
  return compile((inputs: Record<string, Tensor>) => ({ samples: drawer.draw(inputs, steps) }), { name, argumentNames: [''] });
}

/** Draws samples [n, …shape] on the host. */
export async function drawSamples(
  run: (inputs: Record<string, Tensor>) => { samples: Tensor },
  inputs: Readonly<Record<string, HostTensor>>,
): Promise<HostTensor> {
  const tensors = Object.fromEntries(Object.entries(inputs).map(([key, host]) => [key, toTensor(host)]));
  const { samples } = run(tensors);
  try {
    return await toHost(samples);
  } finally {
    disposeTree([tensors, samples]);
  }
}

/** A part of many samples, drawn whole. Its first `count` rows are the samples from number `from` on; the last part may have more rows than are asked for. */
export interface DrawnPart {
  readonly from: number;
  readonly count: number;
  readonly samples: HostTensor;
  readonly labels: HostTensor | undefined;
  readonly steps: number;
}

/** Samples that are drawn side by side where there are many. */
const PART = 50;

/** How many parts n samples are drawn in. */
export const partsOf = (n: number): number => Math.ceil(n / PART);

/**
 * Draws samples in parts. Each part has random numbers of its own, so its samples are the same whatever other parts are drawn.
 *
 * @param parts the parts to draw; all by default
 */
export async function* drawInParts(opened: OpenedRun, request: DrawRequest, parts?: readonly number[]): AsyncGenerator<DrawnPart> {
  const { n } = request;
  const size = Math.min(PART, n);
  let run: ReturnType<typeof compileDrawer> | undefined;
  try {
    for (const part of parts ?? Array.from({ length: partsOf(n) }, (_, i) => i)) {
      const { inputs, steps } = await drawInputs(opened, { ...request, n: size, part });
      run ??= compileDrawer(opened, steps);
      const samples = await drawSamples(run, inputs);
      yield { from: part * size, count: Math.min(size, n - part * size), samples, labels: inputs['y'], steps };
    }
  } finally {
    run?.dispose();
  }
}

/** The first rows of a tensor. */
export const firstRows = (host: HostTensor, rows: number): HostTensor => ({
  ...host,
  shape: [rows, ...host.shape.slice(1)],
  data: host.data.slice(0, (host.data.length / host.shape[0]!) * rows),
});

/** Samples as a picture: points in the plane, a grid of images, or a film strip of videos. */
export function drawnPicture(
  { drawer, name, folder }: OpenedRun,
  samples: HostTensor,
  labels: HostTensor | undefined,
  steps: number,
): Picture {
  const count = drawer.steps === undefined ? '' : `, ${steps} ${steps === 1 ? 'step' : 'steps'}`;
  const title = `${folder.record.experiment}: ${name}${count}`;
  if (drawer.shape.length === 1) return scatterGrid([{ title, points: samples }]);
  const names = labels && Array.from(labels.data, (label) => drawer.classNames[Number(label)]!);
  const shown = shownChannels(samples);
  const options = { title, range: drawer.range ?? ([-1, 1] as const) };
  if (drawer.shape.length === 4) return filmStrip(shown, { ...options, ...(names && { rowLabels: names }) });
  const tile = drawer.shape[1]! <= 16 ? 48 : 64;
  // The classes come in turn: with as many columns each column is one of them.
  const turn = names === undefined ? 1 : new Set(names).size;
  if (names === undefined || turn === 1 || turn > 12)
    return imageGrid(shown, { ...options, tile, columns: Math.min(samples.shape[0]!, 8) });
  return imageGrid(shown, { ...options, tile, columns: turn, columnLabels: names.slice(0, turn) });
}

/** Grey and colour images as they are; of other numbers of channels the first three, or the first. */
function shownChannels(samples: HostTensor): HostTensor {
  const channels = samples.shape.at(-1)!;
  if (channels === 1 || channels === 3) return samples;
  const kept = channels > 3 ? 3 : 1;
  const data = Float32Array.from({ length: (samples.data.length / channels) * kept }, (_, i) => {
    return samples.data[Math.floor(i / kept) * channels + (i % kept)] as number;
  });
  return { dtype: 'float32', shape: [...samples.shape.slice(0, -1), kept], data };
}
