import {
  batchLoss,
  groupOfIteration,
  initMvar,
  initMvarTraining,
  mvarConcatStep,
  mvarConfig,
  mvarTrainingStep,
  tokenCount,
  trainingGroups,
  varSettings,
  type MvarBatch,
  type MvarConfig,
  type MvarParams,
  type MvarSettings,
  type MvarTrainingState,
} from '@atelier/mvar';
import { drawDroppedLabels } from '@atelier/nn';
import { compile, disposeTree, tf, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import type { RunContext } from '../src/runner/experiment.ts';
import { trainLoop } from '../src/training/train-loop.ts';
import type { Config, Figures, Images, Kind } from './config.ts';
import { batchOf, drawnRows, type TokenSet } from './token-set.ts';

/** A network to train, and how it is trained. */
export interface Model {
  /** Part of the names of its stages and checkpoints. */
  readonly name: string;
  /** As people read it. */
  readonly label: string;
  readonly kind: Kind;
  readonly config: MvarConfig;
}

/** A network for the tokens of a set, as VAR or as MVAR. */
export function model(
  kind: Kind,
  { width, depth, heads, refineStep, kernelSize }: Figures | Images,
  set: { coding: TokenSet['coding']; classes: number },
  more: { name?: string; label?: string; settings?: Partial<MvarSettings> } = {},
): Model {
  const { ladder, codes, channels } = set.coding;
  const network = { ladder, width, depth, heads, latentChannels: channels, codes, numClasses: set.classes };
  const settings = kind === 'var' ? varSettings(network) : { ...network, refineStep, kernelSize };
  const labels = { var: 'VAR', concat: 'MVAR', mixed: 'MVAR 8:1:1' };
  return { name: more.name ?? kind, label: more.label ?? labels[kind], kind, config: mvarConfig.parse({ ...settings, ...more.settings }) };
}

/** How many tokens of one image an iteration trains, on average. */
export function tokensPerIteration({ kind, config }: Model, ratio: number): number {
  const all = tokenCount(config.ladder);
  if (kind !== 'mixed') return all;
  const groups = trainingGroups(config).map(({ first, end }) => tokenCount(config.ladder.slice(first, end)));
  return (ratio * groups[0]! + all - groups[0]!) / (ratio + groups.length - 1);
}

/** The factor of the learning rate: a linear warm-up, then linearly down to 1/20. */
const rateFactor = (step: number, steps: number, warmUp: number): number =>
  Math.min(1, (step + 1) / Math.max(1, warmUp)) * Math.min(1, 0.05 + 1 - step / steps);

/**
 * Trains one network on a set of tokens. Networks that get the same stream start from the same weights and see the same batches.
 *
 * @returns the last weights, the caller's to dispose
 */
export async function trainModel(
  context: RunContext<Config>,
  one: Model,
  set: TokenSet,
  training: Figures | Images,
  { name, rng }: { name: string; rng: Rng },
): Promise<MvarParams> {
  const { batch: size, learningRate, warmUp, labelDrop, ratio } = training;
  const steps = one.kind === 'mixed' ? training.mixedIterations : training.iterations;
  const groups = trainingGroups(one.config);
  const grouped = groups.map((group) => mvarTrainingStep(one.config, group));
  const together = mvarConcatStep(one.config);
  // The key of a batch names the group that it trains (or `all`). Batches of different groups are then trees of different structure, so each gets its own graph.
  type Inputs = { [group: string]: MvarBatch | Tensor };
  const { state } = await trainLoop<MvarTrainingState & Tree, Inputs & Tree>({
    context,
    name,
    steps,
    rng: rng.child('steps'),
    init: () => initMvarTraining(initMvar(rng.child('init'), one.config)) as MvarTrainingState & Tree,
    batch(stepRng, step) {
      const group = one.kind === 'mixed' ? groupOfIteration(step, one.config, ratio) : 'all';
      const drawn = batchOf(set, drawnRows(stepRng.child('rows'), size, set.count));
      const dropped = labelDrop > 0 ? { dropped: drawDroppedLabels(stepRng.child('labels'), size, labelDrop) } : {};
      return { [`group ${group}`]: { ...drawn, ...dropped }, rate: tf.scalar(learningRate * rateFactor(step, steps, warmUp)) } as Inputs &
        Tree;
    },
    step(before, inputs) {
      const key = Object.keys(inputs).find((word) => word.startsWith('group '))!;
      const group = key.slice('group '.length);
      const run = group === 'all' ? together : grouped[Number(group)]!;
      const { state: after, loss, norm } = run(before, inputs[key] as MvarBatch, inputs['rate'] as Tensor);
      return { state: after as MvarTrainingState & Tree, metrics: { loss, norm } };
    },
    every: { checkpointSeconds: context.config.checkpointSeconds },
  });
  disposeTree(state.adam as unknown as Tree);
  return state.params;
}

const EVALUATED = 128;

/** Mean cross-entropy in nats per token on a set, without dropped labels. */
export function validate(params: MvarParams, one: Model, set: TokenSet): number {
  const run = compile((p: Tree, batch: Tree) =>
    batchLoss(p as unknown as MvarParams, batch as unknown as MvarBatch, trainingGroups(one.config), one.config),
  );
  let sum = 0;
  for (let from = 0; from < set.count; from += EVALUATED) {
    const rows = Int32Array.from({ length: Math.min(EVALUATED, set.count - from) }, (_, i) => from + i);
    const batch = batchOf(set, rows);
    const loss = run(params as unknown as Tree, batch as unknown as Tree);
    sum += loss.dataSync()[0]! * rows.length;
    tf.dispose([batch, loss] as never);
  }
  run.dispose();
  return sum / set.count;
}
