import { join } from 'node:path';
import {
  drawNoise,
  dropLabels,
  initTarFlow,
  initTraining,
  loadTarFlow,
  modelOfState,
  sequentialSampler,
  tarflowParameterCount,
  tarflowSchedule,
  tokenSizes,
  trainingStep,
  tarflowConfig,
  type TarFlow,
  type TarFlowConfig,
  type TrainingBatch,
  type TrainingState,
} from '@atelier/tarflow';
import { disposeTree, tf, toHost, type Tensor } from '@atelier/tensor';
import { readSafetensors } from '@atelier/tensor/node';
import { StopError } from '../src/runner/errors.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import { workspace } from '../src/runner/machine.ts';
import { imageGrid } from '../src/pictures/image-grid.ts';
import { trainLoop } from '../src/training/train-loop.ts';
import type { Config } from './config.ts';
import type { Data } from './data.ts';

/** Weights that come along: Model A after 1500 steps of the recipe of the preset `full`, by the official code. */
const STORED = join(workspace, 'packages', 'gs-jacobi', 'golden', 'weights_trained.safetensors');
const WATCHED = 16;

export type Trained = { model: TarFlow; config: TarFlowConfig };

/** The network of the run: trained, or Model A as it is stored. */
export async function makeModel(context: RunContext<Config>, data: Data): Promise<Trained> {
  const { network, weights } = context.config;
  const config = tarflowConfig.parse({ ...network, imageSize: data.side, inChannels: data.channels, numClasses: data.classes });
  const { T, D } = tokenSizes(config);
  context.note(`${data.name}: ${T} tokens of ${D} values; ${tarflowParameterCount(config)} parameters, ${config.blocks} blocks`);
  return { config, model: weights === 'stored' ? await storedModel(config) : await trainModel(context, data, config) };
}

async function storedModel(config: TarFlowConfig): Promise<TarFlow> {
  try {
    const { tensors } = await readSafetensors(STORED);
    return loadTarFlow(tensors, config);
  } catch (error) {
    throw new StopError(`weights=stored: ${(error as Error).message}`, { cause: error });
  }
}

async function trainModel(context: RunContext<Config>, data: Data, config: TarFlowConfig): Promise<TarFlow> {
  const { steps, batch, learningRate, warmUp, sigma, labelDrop, watch } = context.config.training;
  const rng = context.rng.child('training');
  const schedule = tarflowSchedule({ warmUpSteps: Math.max(1, Math.round(warmUp * steps)), totalSteps: steps, max: learningRate });
  const step = trainingStep(config, sigma);
  const { T, D } = tokenSizes(config);
  const noise = context.rng.child('watch').normal([WATCHED, T, D]);
  const y = tf.tensor1d(
    Array.from({ length: WATCHED }, (_, i) => i % data.classes),
    'int32',
  );
  const sampler = sequentialSampler(config);
  const { state } = await trainLoop<TrainingState, TrainingBatch & { y: Tensor; rate: Tensor }>({
    context,
    name: 'tarflow',
    steps,
    rng,
    ...(data.cursor && { cursor: data.cursor }),
    init: () => initTraining(initTarFlow(context.rng.child('init'), config)),
    batch(stepRng, at) {
      const drawn = data.next(stepRng.child('data'), batch);
      const y = tf.tidy(() => dropLabels(drawn.y, tf.less(stepRng.child('label drop').uniform([batch]), labelDrop)));
      drawn.y.dispose();
      return { x: drawn.x, noise: drawNoise(stepRng.child('noise'), drawn.x.shape, sigma), y, rate: tf.scalar(schedule(at)) };
    },
    step(state, { rate, ...drawn }) {
      const { state: next, loss } = step(state, drawn, rate);
      return { state: next, metrics: { loss } };
    },
    every: { checkpointSeconds: context.config.checkpointSeconds, watch },
    async watch(state, at) {
      const { images } = sampler(modelOfState(state), noise, { y });
      const host = await toHost(images);
      images.dispose();
      await context.samples('tarflow', at, imageGrid(host, { title: `TarFlow, step ${at}, sequential samples`, columns: 8 }));
    },
  });
  sampler.dispose();
  disposeTree([state.adam, noise, y]);
  return modelOfState(state);
}
