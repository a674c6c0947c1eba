import { drawTimes, guidedMeanFlowLoss, meanFlowLoss, movingRows, splitByTimes, timesFromDraws } from '@atelier/meanflow';
import type { AverageVelocity, GuidanceOptions, TangentDirection, TimeSamplerConfig } from '@atelier/meanflow';
import { adamW, constant, cosine, emaUpdate, emaWarmUp, linearDecay, warmUp, type AdamState, type Schedule } from '@atelier/nn';
import { disposeTree, tf, treeMap, valueAndGrad, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { trainLoop } from '../src/training/train-loop.ts';
import type { Resumable, RunContext } from '../src/runner/experiment.ts';
import type { Config, Training } from './config.ts';

/** A network as initial parameters and a function N_θ(z; t, h; y) of them. */
export interface Network<P extends Tree> {
  init(rng: Rng): P;
  apply(params: P): AverageVelocity;
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
  readonly cursor?: Resumable;
  /** Number of classes and the probability of the null label, which is the number after the last class. */
  readonly classes?: { readonly count: number; readonly drop: number };
  readonly watch?: { readonly every: number; show(average: P, step: number): Promise<void> };
}

type State<P extends Tree> = { params: P; optimizer: AdamState; average: P };
type Batch = {
  x: Tensor;
  e: Tensor;
  times: { t: Tensor; r: Tensor };
  learningRate: Tensor;
  emaDecay: Tensor;
  labels?: { y: Tensor; dropUniform: Tensor };
};

/**
 * Trains one network: JVP, gradients, Adam and the average of the weights in one compiled step.
 *
 * Beside the loss the curve shows S/d, the squared error of a value, for the rows with r = t and those with r < t: with the adaptive weight
 * of p = 1 the loss itself stays near 1.
 * @returns the averaged weights, the caller's to dispose, and the median time of a step
 */
export async function trainFlow<P extends Tree>(training: FlowTraining<P>): Promise<{ average: P; msPerStep: number }> {
  const { context, network, variant, settings, rng, classes, watch } = training;
  const { batch: B, p, c } = settings;
  const sampler = samplerOf(settings, variant.movingShare);
  const rows = movingRows(sampler, B)!;
  const optimizer = adamW({ b2: settings.b2 });
  const learningRate = learningRateOf(settings);
  const emaDecay = settings.emaDecay === 0 ? constant(0) : emaWarmUp(settings.emaDecay);
  const options = { p, c, movingRows: rows, ...(variant.direction && { direction: variant.direction }) };

  const { state, msPerStep } = await trainLoop<State<P>, Batch>({
    context,
    name: variant.name,
    steps: settings.steps,
    rng: rng.child('steps'),
    ...(training.cursor && { cursor: training.cursor }),
    init() {
      const params = network.init(rng.child('init'));
      return { params, optimizer: optimizer.init(params), average: treeMap((leaf) => leaf.clone(), params) };
    },
    batch(stepRng, step) {
      const { x, y } = training.data(stepRng.child('data'));
      const { t, r } = drawTimes(stepRng.child('times'), B, sampler);
      return {
        x,
        e: stepRng.child('noise').normal(x.shape),
        times: { t, r },
        learningRate: tf.scalar(learningRate(step)),
        emaDecay: tf.scalar(emaDecay(step)),
        ...(y && { labels: { y, dropUniform: stepRng.child('class drop').uniform([B]) } }),
      };
    },
    step(state, { x, e, times, labels, ...scalars }) {
      const { loss, aux, grads } = valueAndGrad((params) => {
        const { t, r } = timesFromDraws(times, sampler);
        const N = network.apply(params);
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
        return { loss: parts.loss, aux: { ...(rows[0] > 0 && { 'error r=t': equal }), ...(rows[0] < B && { 'error r<t': moving }) } };
      }, state.params);
      const { params, state: moments } = optimizer.update(grads, state.optimizer, state.params, scalars.learningRate);
      return {
        state: { params, optimizer: moments, average: emaUpdate(state.average, params, scalars.emaDecay) },
        metrics: { loss, ...aux },
      };
    },
    every: { checkpointSeconds: context.config.checkpointSeconds, ...(watch && { watch: watch.every }) },
    ...(watch && { watch: (state: State<P>, step: number) => watch.show(state.average, step) }),
  });
  disposeTree([state.params, state.optimizer]);
  return { average: state.average, msPerStep };
}

/** The first rows have r = t, the moving ones come last. The rows of a batch are independent, so it does not matter which ones move. */
function samplerOf({ times }: Training, movingShare: number): TimeSamplerConfig {
  const law = { kind: 'logit-normal', ...times } as const;
  return { rule: 'prefix', t: law, r: law, equalShare: 1 - movingShare };
}

function learningRateOf({ learningRate, steps, warmUp: first, decay }: Training): Schedule {
  const rest = Math.max(1, steps - first);
  const then = { none: constant(learningRate), linear: linearDecay(learningRate, rest), cosine: cosine(learningRate, rest) }[decay];
  return warmUp(first, then);
}
