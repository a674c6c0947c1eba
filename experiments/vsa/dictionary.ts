import { interpolate } from '@atelier/diffusion';
import { constant } from '@atelier/nn';
import { compile, disposeTree, tf, toHost, treeMap, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { annealedKeep, applyWan, retrofitWan, tileLayout, type WanParams, type WanSettings } from '@atelier/vsa';
import type { RunContext } from '../src/runner/experiment.ts';
import { schedulesOf } from '../src/training/optimization.ts';
import { trainNetwork } from '../src/training/train-network.ts';
import type { Config, Dictionary, Variant } from './config.ts';
import { hasGate, initNetwork, massOf, mixerOf, type LayerView } from './network.ts';
import { DICTIONARY_CHANNELS, DICTIONARY_GRID, DICTIONARY_TILE, dictionaryVideos } from './patch-dictionary.ts';
import { drawNoise, meanError, optimizer, TIMES, velocityError, type Batch } from './training.ts';

/** Steps between two jumps of the number of tiles in an adaptation, and their size. */
const ANNEALING = { by: 4, every: 15 } as const;

/** A trained variant: its held-out error after training and after every few steps, and the mass that its choices capture in each layer. */
export type Trained = { error: number; errors: [step: number, error: number][]; mass: number[] };
/** Held-out errors of the adaptation of the trained full network. */
export type Adaptation = {
  full: number;
  zeroGate: number;
  randomGate: number;
  withoutTraining: number;
  annealed: number;
  direct: number;
  continued: number;
};
export type DictionaryFindings = {
  variants: Partial<Record<Variant, Trained>>;
  sweep: [keep: number, error: number][];
  adaptation?: Adaptation;
};

/** Settings of the network of a variant. */
export const dictionarySettings = ({ heads, headDim, ffnDim, layers }: Dictionary, gate: boolean): WanSettings => ({
  heads,
  headDim,
  ffnDim,
  layers,
  inChannels: DICTIONARY_CHANNELS,
  patch: [1, 1, 1],
  tile: [...DICTIONARY_TILE] as [number, number, number],
  gate,
});

/** Number of tiles of a video. */
export const TILES = tileLayout(DICTIONARY_GRID, DICTIONARY_TILE).tiles;

/** Trains all variants with the same data, noise and steps, then measures and adapts. */
export async function runDictionary(context: RunContext<Config>): Promise<DictionaryFindings> {
  const { dictionary } = context.config;
  const rng = context.rng.child('dictionary');
  const judged = heldOut(rng.child('judged'), dictionary.judged);
  const findings: DictionaryFindings = { variants: {}, sweep: [] };
  try {
    for (const variant of dictionary.variants) {
      const { params, errors } = await train(context, rng, variant, judged);
      try {
        const settings = dictionarySettings(dictionary, hasGate(variant));
        findings.variants[variant] = await context.stage(`judge-${variant}`, async () => ({
          error: await meanError(params, judged, settings, mixerOf(variant, DICTIONARY_TILE, dictionary.keep)),
          errors,
          mass: await masses(params, judged, settings, variant, dictionary.keep),
        }));
        if (variant === 'vsa') findings.sweep = await sweep(context, params, judged);
        if (variant === 'full' && dictionary.adaptation > 0) findings.adaptation = await adapt(context, rng, params, judged);
      } finally {
        disposeTree(params);
      }
    }
    return findings;
  } finally {
    disposeTree(judged as unknown as Tree);
  }
}

/** Batches of fixed videos with fixed noise, one for each time. */
function heldOut(rng: Rng, count: number): Batch[] {
  return TIMES.map((time) => {
    const x0 = dictionaryVideos(rng.child(String(time)), count);
    return { x0, e: rng.child(String(time)).child('noise').normal(x0.shape), t: tf.fill([count], time) };
  });
}

async function train(
  context: RunContext<Config>,
  rng: Rng,
  variant: Variant,
  judged: readonly Batch[],
): Promise<{ params: WanParams; errors: [number, number][] }> {
  const { dictionary } = context.config;
  const { training, keep } = dictionary;
  const settings = dictionarySettings(dictionary, hasGate(variant));
  const mix = mixerOf(variant, DICTIONARY_TILE, keep);
  const watched = variant === 'full' || variant === 'vsa';
  const { params } = await trainNetwork<WanParams, ReturnType<typeof optimizer.init>, Batch>({
    context,
    name: variant,
    steps: training.steps,
    rng: rng.child('steps'),
    optimizer,
    learningRate: schedulesOf(training).learningRate,
    init: () => initNetwork(rng.child('init'), settings),
    batch: (stepRng) => drawBatch(stepRng, training.batch),
    loss: (at, batch) => ({ loss: tf.mean(velocityError(at, batch, settings, mix)) }),
    ...(watched && {
      watch: {
        every: dictionary.watch,
        show: async (at: WanParams, step: number) => {
          await context.stage(`error-${variant}-${step}`, async () => ({ error: await meanError(at, judged, settings, mix) }));
        },
      },
    }),
  });
  const errors: [number, number][] = [];
  if (watched)
    for (let step = dictionary.watch; step <= training.steps; step += dictionary.watch) {
      const seen = await context.checkpoints.load(`stage-error-${variant}-${step}`);
      if (seen !== null) errors.push([step, (seen.state as { error: number }).error]);
    }
  return { params, errors };
}

function drawBatch(rng: Rng, count: number): Batch {
  const x0 = dictionaryVideos(rng.child('videos'), count);
  return { x0, ...drawNoise(rng, x0.shape) };
}

/** The captured mass of each layer, as a mean over the held-out videos at all times. */
async function masses(
  params: WanParams,
  judged: readonly Batch[],
  settings: WanSettings,
  variant: Variant,
  keep: number,
): Promise<number[]> {
  const run = compile((at: WanParams, { x0, e, t }: Batch) => {
    const found: Tensor[] = [];
    const watch = (view: LayerView): void => void found.push(massOf(view, DICTIONARY_TILE));
    const out = applyWan(at, interpolate(x0, e, t), { t }, settings, mixerOf(variant, DICTIONARY_TILE, keep, watch));
    return { masses: tf.stack(found), out: tf.sum(out) };
  });
  try {
    const rows = await Promise.all(
      judged.map(async (batch) => {
        const { masses: found, out } = run(params, batch);
        const host = await toHost(found);
        tf.dispose([found, out]);
        return [...host.data];
      }),
    );
    return rows[0]!.map((_, layer) => rows.reduce((sum, row) => sum + row[layer]!, 0) / rows.length);
  } finally {
    run.dispose();
  }
}

/** The trained sparse network with other numbers of tiles. */
async function sweep(context: RunContext<Config>, params: WanParams, judged: readonly Batch[]): Promise<[number, number][]> {
  const { dictionary } = context.config;
  const settings = dictionarySettings(dictionary, true);
  return context.stage('sweep', async () => {
    const rows: [number, number][] = [];
    for (const keep of dictionary.sweep)
      rows.push([keep, await meanError(params, judged, settings, mixerOf('vsa', DICTIONARY_TILE, keep))]);
    return rows;
  });
}

/** The full network as a sparse one: at once, and after more training with a falling number of tiles, beside more training of the full one. */
async function adapt(context: RunContext<Config>, rng: Rng, full: WanParams, judged: readonly Batch[]): Promise<Adaptation> {
  const { dictionary } = context.config;
  const { keep, adaptation: steps, training } = dictionary;
  const [dense, sparse] = [dictionarySettings(dictionary, false), dictionarySettings(dictionary, true)];
  const errorOf = (params: WanParams, variant: Variant, tiles: number): Promise<number> =>
    meanError(params, judged, variant === 'full' ? dense : sparse, mixerOf(variant, DICTIONARY_TILE, tiles));
  const more = async (name: string, variant: Variant, tilesAt: (step: number) => number): Promise<number> => {
    const { params } = await trainNetwork<WanParams, ReturnType<typeof optimizer.init>, Batch>({
      context,
      name,
      steps,
      rng: rng.child('adaptation'),
      optimizer,
      learningRate: constant(dictionary.adaptationRate),
      init: () => (variant === 'full' ? copy(full) : retrofitWan(full, sparse)),
      // The number of tiles is the length of a tensor: each number has its own graph.
      batch: (stepRng, step) => ({ ...drawBatch(stepRng, training.batch), keep: tf.zeros([tilesAt(step)]) }),
      loss: (at, batch) => {
        const mix = mixerOf(variant, DICTIONARY_TILE, batch.keep!.shape[0]!);
        return { loss: tf.mean(velocityError(at, batch, variant === 'full' ? dense : sparse, mix)) };
      },
    });
    const error = await errorOf(params, variant, keep);
    disposeTree(params);
    return error;
  };
  const start = await context.stage('retrofit', async () => {
    const closed = retrofitWan(full, sparse);
    const open = openGates(closed, rng.child('gates'));
    const found = {
      full: await errorOf(full, 'full', TILES),
      zeroGate: await errorOf(closed, 'vsa', TILES),
      randomGate: await errorOf(open, 'vsa', TILES),
      withoutTraining: await errorOf(closed, 'vsa', keep),
    };
    disposeTree([closed, open] as unknown as Tree);
    return found;
  });
  return {
    ...start,
    annealed: await more('annealed', 'vsa', (step) => annealedKeep(step, { from: TILES, to: keep, ...ANNEALING })),
    direct: await more('direct', 'vsa', () => keep),
    continued: await more('continued', 'full', () => keep),
  };
}

const copy = (params: WanParams): WanParams => treeMap((leaf) => leaf.clone(), params);

/** The same network with gates as PyTorch would begin them: uniform in ±1/√C. */
function openGates(params: WanParams, rng: Rng): WanParams {
  return treeMap((leaf, path) => {
    if (!path.includes('to_gate_compress')) return leaf.clone();
    const bound = leaf.shape.at(-1)! ** -0.5;
    return rng.child(path).uniform(leaf.shape, -bound, bound);
  }, params);
}
