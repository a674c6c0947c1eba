import { join } from 'node:path';
import {
  addNoise,
  drawNoise,
  dropLabels,
  initTarFlow,
  loadTarFlow,
  sequentialSampler,
  tarflowConfig,
  tarflowLoss,
  tarflowOptimizer,
  tarflowParameterCount,
  tarflowSchedule,
  tokenSizes,
  type TarFlow,
  type TarFlowConfig,
} from '@atelier/tarflow';
import { disposeTree, tf, toHost } from '@atelier/tensor';
import { readSafetensors } from '@atelier/tensor/node';
import { StopError } from '../src/runner/errors.ts';
import type { RunContext } from '../src/runner/experiment.ts';
import type { ImageStream } from '../src/data/image-stream.ts';
import { workspace } from '../src/runner/machine.ts';
import { imageGrid } from '../src/pictures/image-grid.ts';
import { trainNetwork } from '../src/training/train-network.ts';
import type { Config } from './config.ts';

/** Weights that come along: Model A after 1500 steps of the recipe of the preset `full`, by the official code. */
const STORED = join(workspace, 'packages', 'tarflow', 'golden', 'gs-jacobi', 'weights_trained.safetensors');
const WATCHED = 16;

export type Trained = { model: TarFlow; config: TarFlowConfig };

/** The sizes of the network for these images. */
export const networkConfig = (
  { network }: Config,
  { side, channels, classes }: Pick<ImageStream, 'side' | 'channels' | 'classes'>,
): TarFlowConfig => tarflowConfig.parse({ ...network, imageSize: side, inChannels: channels, numClasses: classes });

/** The network of the run: trained, or Model A as it is stored. */
export async function makeModel(context: RunContext<Config>, data: ImageStream): Promise<Trained> {
  const { weights } = context.config;
  const config = networkConfig(context.config, data);
  const { T, D } = tokenSizes(config);
  context.note(`${data.name}: ${T} tokens of ${D} values; ${tarflowParameterCount(config)} parameters, ${config.blocks} blocks`);
  return { config, model: weights === 'stored' ? await storedModel(config) : await trainModel(context, data, config) };
}

export async function storedModel(config: TarFlowConfig): Promise<TarFlow> {
  try {
    const { tensors } = await readSafetensors(STORED);
    return loadTarFlow(tensors, config);
  } catch (error) {
    throw new StopError(`weights=stored: ${(error as Error).message}`, { cause: error });
  }
}

async function trainModel(context: RunContext<Config>, data: ImageStream, config: TarFlowConfig): Promise<TarFlow> {
  const { steps, batch, learningRate, warmUp, sigma, labelDrop, watch } = context.config.training;
  const { var: prior, ...initial } = initTarFlow(context.rng.child('init'), config);
  const watched = watcher(context, data, config);
  const { params } = await trainNetwork({
    context,
    name: 'tarflow',
    steps,
    rng: context.rng.child('training'),
    optimizer: tarflowOptimizer,
    learningRate: tarflowSchedule({ warmUpSteps: Math.max(1, Math.round(warmUp * steps)), totalSteps: steps, max: learningRate }),
    cursor: data.cursor,
    init: () => initial,
    batch(stepRng) {
      const { x, y: drawn } = data.next(stepRng.child('data'));
      const y = tf.tidy(() => dropLabels(drawn, tf.less(stepRng.child('label drop').uniform([batch]), labelDrop)));
      drawn.dispose();
      return { x, noise: drawNoise(stepRng.child('noise'), x.shape, sigma), y };
    },
    loss: (weights, { x, noise, y }) => ({ loss: tarflowLoss(weights, addNoise(x, noise, sigma), config, y).loss }),
    watch: { every: watch, show: (weights, step) => watched.show({ ...weights, var: prior }, step) },
  });
  watched.dispose();
  return { ...params, var: prior };
}

/** Sequential samples from fixed noise while the network is trained. */
function watcher(context: RunContext<Config>, data: ImageStream, config: TarFlowConfig) {
  const { T, D } = tokenSizes(config);
  const noise = context.rng.child('watch').normal([WATCHED, T, D]);
  const y = tf.tensor1d(
    Array.from({ length: WATCHED }, (_, i) => i % data.classes),
    'int32',
  );
  const sampler = sequentialSampler(config);
  return {
    async show(model: TarFlow, step: number): Promise<void> {
      const { images } = sampler.sample(model, noise, { y });
      const host = await toHost(images);
      images.dispose();
      await context.samples('tarflow', step, imageGrid(host, { title: `TarFlow, step ${step}, sequential samples`, columns: 8 }));
    },
    dispose(): void {
      sampler.dispose();
      disposeTree([noise, y]);
    },
  };
}
