import type { ImageSet } from '@atelier/datasets';
import {
  CONV_FEATURES,
  convFeatures,
  frechetDistanceOfGaussians,
  gaussianMoments,
  initConvFeatures,
  type GaussianMoments,
} from '@atelier/metrics';
import type { Rng } from '@atelier/tensor';

/** Mean and covariance of 96 fixed random features of images [N, H, W, C] flattened; `rng` decides the features. */
export function convolutionMoments(
  rng: Rng,
  { height, width, channels }: Pick<ImageSet, 'height' | 'width' | 'channels'>,
): (images: Float32Array) => Promise<GaussianMoments> {
  const features = initConvFeatures(rng, channels);
  return async (images) => gaussianMoments(await convFeatures(features, images, height, width), CONV_FEATURES);
}

/** Fréchet distance in these features from reference images. Their features are computed when the first distance is asked for. */
export function convolutionDistance(rng: Rng, set: ImageSet, reference: () => Float32Array): (images: Float32Array) => Promise<number> {
  const moments = convolutionMoments(rng, set);
  let wanted: GaussianMoments | undefined;
  return async (images) => frechetDistanceOfGaussians(await moments(images), (wanted ??= await moments(reference())));
}
