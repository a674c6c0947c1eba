import {
  adamW,
  constant,
  cosine,
  drawDroppedLabels,
  dropLabels,
  emaUpdate,
  emaWarmUp,
  warmUp,
  type AdamState,
  type Schedule,
} from '@atelier/nn';
import { diffusionLoss, diffusionTables, drawDiffusion, linearBetas } from '@atelier/diffusion';
import { applySwinDiT, initSwinDiT, type SwinDiTParams } from '@atelier/swin-dit';
import { disposeTree, tf, treeMap, valueAndGrad, type Rng, type Tensor } from '@atelier/tensor';
import type { Resumable, RunContext } from '../src/runner/experiment.ts';
import { trainLoop } from '../src/training/train-loop.ts';
import type { Config, Training } from './config.ts';
import type { Model } from './models.ts';

/** DiT's process: 1000 steps, β on a straight line. */
export const tables = diffusionTables(linearBetas());

/** Data of one step: x0 [B, H, W, C] float32 and labels y [B] int32. */
export type DataBatch = { x0: Tensor; y: Tensor };

export interface DenoiserTraining {
  readonly context: RunContext<Config>;
  readonly model: Model;
  /** Name of the stage, its checkpoint and its curve. */
  readonly name: string;
  readonly settings: Training;
  /** Where initial weights, times and noise come from. Models that are given the same stream see the same draws, and start alike as far as their weights have the same shapes. */
  readonly rng: Rng;
  data(rng: Rng): DataBatch;
  readonly cursor?: Resumable;
  /** Probability with which a label is replaced by the null label, the number after the last class. */
  readonly classDrop?: number;
  readonly watch?: { readonly every: number; show(average: SwinDiTParams, step: number): Promise<void> };
}

type State = { params: SwinDiTParams; optimizer: AdamState; average: SwinDiTParams };
type Batch = { x0: Tensor; y: Tensor; noise: Tensor; k: Tensor; learningRate: Tensor; emaDecay: Tensor; dropped?: Tensor };

/**
 * Trains one network to predict the noise: loss, gradients, AdamW and the average of the weights in one compiled step.
 *
 * @returns the averaged weights, the caller's to dispose, and the median time of a step
 */
export async function trainDenoiser(training: DenoiserTraining): Promise<{ average: SwinDiTParams; msPerStep: number }> {
  const { context, model, name, settings, rng, classDrop = 0, watch } = training;
  const { dit } = model.settings;
  const { batch: B } = settings;
  const variance = dit.learnSigma === true ? 'learned' : 'small';
  const optimizer = adamW();
  const learningRate = learningRateOf(settings);
  const emaDecay = settings.emaDecay === 0 ? constant(0) : emaWarmUp(settings.emaDecay);

  const { state, msPerStep } = await trainLoop<State, Batch>({
    context,
    name,
    steps: settings.steps,
    rng: rng.child('steps'),
    ...(training.cursor && { cursor: training.cursor }),
    init() {
      const params = initSwinDiT(rng.child('init'), model.settings);
      return { params, optimizer: optimizer.init(params), average: treeMap((leaf) => leaf.clone(), params) };
    },
    batch(stepRng, step) {
      const { x0, y } = training.data(stepRng.child('data'));
      return {
        x0,
        y,
        ...drawDiffusion(stepRng.child('diffusion'), tables, x0.shape),
        learningRate: tf.scalar(learningRate(step)),
        emaDecay: tf.scalar(emaDecay(step)),
        ...(classDrop > 0 && { dropped: drawDroppedLabels(stepRng.child('class drop'), B, classDrop) }),
      };
    },
    step(state, { x0, y, noise, k, dropped, ...scalars }) {
      const labels = dropped === undefined ? y : dropLabels(y, dropped, dit.numClasses!);
      const { loss, aux, grads } = valueAndGrad((params) => {
        const parts = diffusionLoss((x, t) => applySwinDiT(params, x, { t, y: labels }, model.settings), { x0, noise, k }, tables, {
          variance,
        });
        return { loss: parts.loss, aux: { ...(parts.vb && { mse: tf.mean(parts.mse) }) } };
      }, state.params);
      const { params, state: moments } = optimizer.update(grads, state.optimizer, state.params, scalars.learningRate);
      return {
        state: { params, optimizer: moments, average: emaUpdate(state.average, params, scalars.emaDecay) },
        metrics: { loss, ...aux },
      };
    },
    every: { checkpointSeconds: context.config.checkpointSeconds, ...(watch && { watch: watch.every }) },
    ...(watch && { watch: (state: State, step: number) => watch.show(state.average, step) }),
  });
  disposeTree([state.params, state.optimizer]);
  return { average: state.average, msPerStep };
}

function learningRateOf({ learningRate, steps, warmUp: first, decay }: Training): Schedule {
  return warmUp(first, decay === 'cosine' ? cosine(learningRate, Math.max(1, steps - first)) : constant(learningRate));
}
