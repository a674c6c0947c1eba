import { wrongTangents } from '@atelier/meanflow';
import { disposeTree, type Tree } from '@atelier/tensor';
import type { Json, RunContext } from '../src/runner/experiment.ts';
import type { Config, TangentName } from './config.ts';
import { drawSamples, type EvaluationNoise, type Method } from './sampling.ts';
import { trainFlow, type FlowTraining, type Network, type Variant } from './training.ts';

/** Scores by number of steps. */
export type BySteps<Scores> = { readonly [steps: string]: Scores };

/** Data with all that is needed to train networks on it and to score their samples. */
export interface Ground<P extends Tree, Scores extends Json> extends Omit<FlowTraining<P>, 'variant' | 'data' | 'cursor' | 'watch'> {
  readonly context: RunContext<Config>;
  readonly network: Network<P>;
  /** Full name of a stage: that of a variant with what tells this ground from others. */
  nameOf(variant: string): string;
  /** Begins the data anew, so that all networks see the same batches. */
  data(): Pick<FlowTraining<P>, 'data' | 'cursor'>;
  /** Pictures drawn while a network is trained. */
  watch?(name: string, method: Method): FlowTraining<P>['watch'];
  readonly noise: EvaluationNoise;
  /** Samples that are drawn side by side. */
  readonly sampleBatch: number;
  /** Steps of flow matching that MeanFlow in one step is held against. */
  readonly manySteps: number;
  score(samples: Float32Array): Promise<Scores>;
  /** Scores in words. */
  describe(name: string, scores: BySteps<Scores>): string[];
}

/** A trained network with the scores of its samples. */
export type Scored<P, Scores> = { readonly params: P; readonly msPerStep: number; readonly scores: BySteps<Scores> };

/** Trains MeanFlow and flow matching on a ground and scores their samples; the parameters are the caller's to dispose. */
export async function compareMethods<P extends Tree, Scores extends Json>(
  ground: Ground<P, Scores>,
): Promise<{ meanFlow: Scored<P, Scores>; flowMatching: Scored<P, Scores> }> {
  const { movingShare } = ground.settings;
  return {
    meanFlow: await trainAndScore(ground, { name: 'meanflow', movingShare }, 'jumps', [1, 2, 4]),
    flowMatching: await trainAndScore(ground, { name: 'flow-matching', movingShare: 0 }, 'euler', [1, 2, 4, ground.manySteps]),
  };
}

/** Trains MeanFlow with each wrong direction of the JVP; returns the scores of one-step samples. */
export async function scoreTangents<P extends Tree, Scores extends Json>(
  ground: Ground<P, Scores>,
  tangents: readonly TangentName[],
): Promise<{ name: TangentName; scores: BySteps<Scores> }[]> {
  const found = [];
  for (const name of tangents) {
    const variant = `tangent-${name.replaceAll(',', '')}`;
    found.push({ name, scores: await scoreVariant(ground, { name: variant, direction: wrongTangents[name] }) });
  }
  return found;
}

/** Trains a kind of MeanFlow that is only compared by the scores of its one-step samples. */
export async function scoreVariant<P extends Tree, Scores extends Json>(
  ground: Ground<P, Scores>,
  variant: Omit<Variant, 'movingShare'>,
): Promise<BySteps<Scores>> {
  const { params, scores } = await trainAndScore(ground, { ...variant, movingShare: ground.settings.movingShare }, 'jumps', [1]);
  disposeTree(params);
  return scores;
}

/** Samples of a network from the noise of the evaluation. */
export function drawFor<P extends Tree>(ground: Ground<P, Json>, params: P, steps: number, method: Method): Promise<Float32Array> {
  const { network, noise, sampleBatch: batch, context } = ground;
  return drawSamples(network.apply, params, noise, { steps, method, batch, signal: context.signal });
}

async function trainAndScore<P extends Tree, Scores extends Json>(
  ground: Ground<P, Scores>,
  variant: Variant,
  method: Method,
  counts: readonly number[],
): Promise<Scored<P, Scores>> {
  const { context, network, settings, rng, classes } = ground;
  const name = ground.nameOf(variant.name);
  const watch = ground.watch?.(name, method);
  const trained = await trainFlow({ context, network, variant: { ...variant, name }, settings, rng, classes, watch, ...ground.data() });
  const scores = await context.stage(`evaluate-${name}`, async () => {
    const found: Record<string, Scores> = {};
    for (const steps of counts) found[steps] = await ground.score(await drawFor(ground, trained.params, steps, method));
    for (const line of ground.describe(name, found)) context.note(line);
    return found;
  });
  return { ...trained, scores };
}
