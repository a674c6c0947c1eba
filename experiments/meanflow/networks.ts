import {
  augmentImages,
  drawAugmentation,
  initMeanFlowDiT,
  initMeanFlowUNet,
  meanFlowDiT,
  meanFlowUNet,
  meanFlowUNetConfig,
  type MeanFlowUNetOptions,
} from '@atelier/meanflow';
import {
  ditConfig,
  ditParameterCount,
  drawDropout,
  parameterCount,
  songUNetParameters,
  type DiTParams,
  type SongUNetParams,
} from '@atelier/nn';
import { parseConfig, toTensor, type Rng, type Tensor } from '@atelier/tensor';
import type { ImageFacts } from '../src/data/images.ts';
import type { Images } from './config.ts';
import type { Network } from './training.ts';

export type ImageParams = DiTParams | SongUNetParams;
export type ImageNetwork = Network<ImageParams> & { readonly parameters: number };

/** The network of a configuration for a set of images: the DiT, or the U-Net where one is described. */
export function imageNetwork({ network, unet }: Images, set: ImageFacts): ImageNetwork {
  return unet === undefined ? ditFor(network, set) : unetFor(unet, set);
}

function ditFor(network: Images['network'], set: ImageFacts): ImageNetwork {
  const settings = { ...network, inChannels: set.channels, numClasses: set.classes, interval: true };
  const config = parseConfig(ditConfig, settings, 'meanflow: images.network');
  return {
    parameters: ditParameterCount(config),
    init: (rng) => initMeanFlowDiT(rng, config),
    apply: (params) => meanFlowDiT(params as DiTParams, config),
  };
}

/** Number of labels that tell the U-Net how its images were augmented. */
const AUGMENT_LABELS = 6;

function unetFor({ augment, ...network }: NonNullable<Images['unet']>, set: ImageFacts): ImageNetwork {
  const config = meanFlowUNetConfig({
    ...network,
    resolution: set.height,
    inChannels: set.channels,
    outChannels: set.channels,
    numClasses: set.classes,
    augmentDim: augment ? AUGMENT_LABELS : 0,
  });
  return {
    parameters: parameterCount(songUNetParameters(config)),
    init: (rng) => initMeanFlowUNet(rng, config),
    apply: (params, extras) => meanFlowUNet(params as SongUNetParams, config, extras),
    prepare(rng, x) {
      const B = x.shape[0]!;
      const dropout = drawDropout(rng.child('dropout'), config, [B, set.height, set.width]);
      if (!augment) return { x, extras: { dropout } };
      const changed = augmented(rng.child('augmentation'), x);
      x.dispose();
      return { x: changed.x, extras: { dropout, augment: changed.labels } };
    },
  };
}

function augmented(rng: Rng, x: Tensor): { x: Tensor; labels: NonNullable<MeanFlowUNetOptions['augment']> } {
  const host = { dtype: 'float32' as const, shape: [...x.shape], data: x.dataSync() as Float32Array };
  const { images, labels } = augmentImages(host, drawAugmentation(rng, x.shape[0]!));
  return { x: toTensor(images), labels: toTensor(labels) };
}
