import { diffusionLoss, diffusionTables, drawDiffusion, linearBetas } from '@atelier/diffusion';
import { adamW, drawDroppedLabels, dropLabels } from '@atelier/nn';
import { applySwinDiT, initSwinDiT, type SwinDiTParams } from '@atelier/swin-dit';
import { tf, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import type { Resumable, RunContext } from '../src/runner/experiment.ts';
import { schedulesOf, type Optimization } from '../src/training/optimization.ts';
import { trainNetwork, type NetworkTraining } from '../src/training/train-network.ts';
import type { Config } from './config.ts';
import type { Model } from './models.ts';

/** DiT's process: 1000 steps, β on a straight line. */
export const tables = diffusionTables(linearBetas());

export interface DenoiserTraining {
  readonly context: RunContext<Config>;
  readonly model: Model;
  /** Name of the stage, its checkpoint and its curve. */
  readonly name: string;
  readonly settings: Optimization;
  /** Where initial weights, times and noise come from. Models that are given the same stream see the same draws, and start alike as far as their weights have the same shapes. */
  readonly rng: Rng;
  /** Data of one step: images x [B, H, W, C] float32 and labels y [B] int32. */
  data(rng: Rng): { x: Tensor; y: Tensor };
  readonly cursor?: Resumable;
  /** Probability with which a label is replaced by the null label, the number after the last class. */
  readonly classDrop?: number;
  readonly watch?: NetworkTraining<SwinDiTParams, Tree, Tree>['watch'];
}

type Inputs = { x0: Tensor; y: Tensor; noise: Tensor; k: Tensor; dropped?: Tensor };

/**
 * Trains one network to predict the noise.
 *
 * @returns the averaged weights, the caller's to dispose, and the median time of a step
 */
export function trainDenoiser(training: DenoiserTraining): Promise<{ params: SwinDiTParams; msPerStep: number }> {
  const { context, model, name, settings, rng, classDrop = 0, cursor, watch } = training;
  const { dit } = model.settings;
  const variance = dit.learnSigma === true ? 'learned' : 'small';
  return trainNetwork({
    context,
    name,
    steps: settings.steps,
    rng: rng.child('steps'),
    optimizer: adamW(),
    ...schedulesOf(settings),
    cursor,
    watch,
    init: () => initSwinDiT(rng.child('init'), model.settings),
    batch(stepRng): Inputs {
      const { x, y } = training.data(stepRng.child('data'));
      return {
        x0: x,
        y,
        ...drawDiffusion(stepRng.child('diffusion'), tables, x.shape),
        ...(classDrop > 0 && { dropped: drawDroppedLabels(stepRng.child('class drop'), settings.batch, classDrop) }),
      };
    },
    loss(params, { x0, y, noise, k, dropped }) {
      const labels = dropped === undefined ? y : dropLabels(y, dropped, dit.numClasses!);
      const network = (x: Tensor, t: Tensor): Tensor => applySwinDiT(params, x, { t, y: labels }, model.settings);
      const parts = diffusionLoss(network, { x0, noise, k }, tables, { variance });
      return { loss: parts.loss, metrics: { ...(parts.vb && { mse: tf.mean(parts.mse) }) } };
    },
  });
}
