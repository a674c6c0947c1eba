import { drawTimes, guidedMeanFlowLoss, meanFlowLoss, movingRows, splitByTimes, timesFromDraws } from '@atelier/meanflow';
import type { AverageVelocity, GuidanceOptions, MeanFlowUNetOptions, TangentDirection, TimeSamplerConfig } from '@atelier/meanflow';
import { adamW } from '@atelier/nn';
import { tf, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import type { Resumable, RunContext } from '../src/runner/experiment.ts';
import { schedulesOf } from '../src/training/optimization.ts';
import { trainNetwork, type NetworkTraining } from '../src/training/train-network.ts';
import type { Config, Training } from './config.ts';

/** A network as initial parameters and a function N_θ(z; t, h; y) of them. */
export interface Network<P extends Tree> {
  init(rng: Rng): P;
  apply(params: P, extras?: MeanFlowUNetOptions): AverageVelocity;
  /** Images of a step as they are trained on, and what the network is told or drops besides; takes the images over. Absent: as they are. */
  prepare?(rng: Rng, x: Tensor): { x: Tensor; extras: MeanFlowUNetOptions };
}

/** Data of one step: x [B, …] float32 and, where the network has classes, y [B] int32. */
export type DataBatch = { x: Tensor; y?: Tensor };

/** One network to be trained: flow matching is MeanFlow without a moving row. */
export interface Variant {
  /** Name of the stage, its checkpoint and its curve. */
  readonly name: string;
  readonly movingShare: number;
  readonly direction?: TangentDirection;
  readonly guidance?: GuidanceOptions;
}

export interface FlowTraining<P extends Tree> {
  readonly context: RunContext<Config>;
  readonly network: Network<P>;
  readonly variant: Variant;
  readonly settings: Training;
  /** Where initial weights, noise and times come from. Variants that are given the same stream start from the same weights and see the same draws. */
  readonly rng: Rng;
  data(rng: Rng): DataBatch;
  readonly cursor?: Resumable | undefined;
  /** Number of classes and the probability of the null label, which is the number after the last class. */
  readonly classes?: { readonly count: number; readonly drop: number } | undefined;
  readonly watch?: NetworkTraining<P, Tree, Tree>['watch'];
}

/** The inputs of the loss at one step. `timeDraws` are the normals that become times. */
type Inputs = {
  x: Tensor;
  e: Tensor;
  timeDraws: { t: Tensor; r: Tensor };
  labels?: { y: Tensor; dropUniform: Tensor };
  extras?: MeanFlowUNetOptions;
};

/**
 * Trains one network with the MeanFlow loss.
 *
 * Beside the loss the curve shows S/d, the squared error of a value, for the rows with r = t and those with r < t: with the adaptive weight
 * of p = 1 the loss itself stays near 1.
 * @returns the averaged weights, the caller's to dispose, and the median time of a step
 */
export function trainFlow<P extends Tree>(training: FlowTraining<P>): Promise<{ params: P; msPerStep: number }> {
  const { context, network, variant, settings, rng, classes, cursor, watch } = training;
  const { batch: B, p, c } = settings;
  const sampler = samplerOf(settings, variant.movingShare);
  const rows = movingRows(sampler, B)!;
  // Labels of the augmentation and dropout belong to the whole batch, which is not cut then; the result is the same.
  const options = { p, c, ...(!network.prepare && { movingRows: rows }), ...(variant.direction && { direction: variant.direction }) };
  return trainNetwork({
    context,
    name: variant.name,
    steps: settings.steps,
    rng: rng.child('steps'),
    optimizer: adamW({ b2: settings.b2 }),
    ...schedulesOf(settings),
    cursor,
    watch,
    init: () => network.init(rng.child('init')),
    batch(stepRng): Inputs {
      const { x: images, y } = training.data(stepRng.child('data'));
      const { x, extras } = network.prepare?.(stepRng.child('prepare'), images) ?? { x: images };
      return {
        x,
        e: stepRng.child('noise').normal(x.shape),
        timeDraws: drawTimes(stepRng.child('times'), B, sampler),
        ...(y && { labels: { y, dropUniform: stepRng.child('class drop').uniform([B]) } }),
        ...(extras && { extras }),
      };
    },
    loss(params, { x, e, timeDraws, labels, extras }) {
      const { t, r } = timesFromDraws(timeDraws, sampler);
      const N = network.apply(params, extras);
      const parts =
        labels && classes
          ? guidedMeanFlowLoss(
              N,
              { x, e, t, r, ...labels },
              {
                ...options,
                guidance: variant.guidance ?? { omega: 1, kappa: 0 },
                classDrop: { probability: classes.drop, rule: 'row' },
                nullLabel: classes.count,
              },
            )
          : meanFlowLoss(N, { x, e, t, r }, options);
      const { equal, moving } = splitByTimes(tf.div(parts.squaredError, x.size / B), { t, r });
      return { loss: parts.loss, metrics: { ...(rows[0] > 0 && { 'error r=t': equal }), ...(rows[0] < B && { 'error r<t': moving }) } };
    },
  });
}

/** The first rows have r = t, the moving ones come last. The rows of a batch are independent, so it does not matter which ones move. */
function samplerOf({ times }: Training, movingShare: number): TimeSamplerConfig {
  const law = { kind: 'logit-normal', ...times } as const;
  return { rule: 'prefix', t: law, r: law, equalShare: 1 - movingShare };
}
