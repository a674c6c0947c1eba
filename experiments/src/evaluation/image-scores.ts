import { imageSize, type ImageSet } from '@atelier/datasets';
import { classShare, frechetDistanceOfGaussians, gaussianMoments, type GaussianMoments } from '@atelier/metrics';
import type { Rng } from '@atelier/tensor';
import { imagesOf, type ImageData } from '../data/images.ts';
import { CLASSIFIER_FEATURES, type Judge } from './classifier.ts';
import { convolutionMoments } from './feature-distance.ts';

/** Distances of a set of samples from the true images, and the share of samples that the classifier puts into the requested class. */
export type ImageScores = {
  /** Fréchet distance of pixels; left out above `MOST_PIXELS` values per image, because the covariance would be too large to be estimated well. */
  pixels?: number;
  /** Fréchet distance of the 96 fixed random features. */
  features: number;
  /** Fréchet distance in the last hidden layer of the classifier. */
  classifier: number;
  share: number;
};

const MOST_PIXELS = 256;

export interface ImageMeasure {
  /** @param images [N, H, W, C] flattened, made for the classes `labels` [N] */
  score(images: Float32Array, labels: Int32Array): Promise<ImageScores>;
}

type Moments = { pixels?: GaussianMoments; features: GaussianMoments; classifier: GaussianMoments };

/** Compares sets of samples with the reference set. Everything random comes from `rng` and is the same for all sets. */
export async function imageMeasure(reference: ImageSet, judge: Judge, rng: Rng): Promise<ImageMeasure> {
  const size = imageSize(reference);
  const random = convolutionMoments(rng.child('convolution features'), reference);
  const describe = async (images: Float32Array): Promise<Moments & { classes: Int32Array }> => {
    const looked = await judge.look(images);
    return {
      ...(size <= MOST_PIXELS && { pixels: gaussianMoments(images, size) }),
      features: await random(images),
      classifier: gaussianMoments(looked.features, CLASSIFIER_FEATURES),
      classes: looked.classes,
    };
  };
  const wanted = await describe(imagesOf(reference).x);
  return {
    async score(images, labels) {
      const got = await describe(images);
      return {
        ...(wanted.pixels && got.pixels && { pixels: frechetDistanceOfGaussians(got.pixels, wanted.pixels) }),
        features: frechetDistanceOfGaussians(got.features, wanted.features),
        classifier: frechetDistanceOfGaussians(got.classifier, wanted.classifier),
        share: classShare(got.classes, labels),
      };
    },
  };
}

/** The scores of true images: what a perfect model would reach. */
export async function floorScores(measure: ImageMeasure, { second }: ImageData): Promise<ImageScores> {
  const { x, y } = imagesOf(second);
  return measure.score(x, y);
}

/** Scores in words. */
export function scoreText({ pixels, features, classifier, share }: ImageScores): string {
  const distances = { pixels, features, 'classifier features': classifier };
  const parts = Object.entries(distances).flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${value.toPrecision(3)}`]));
  return `Fréchet distance of ${parts.join(', ')}; ${(100 * share).toFixed(1)} % in their class`;
}
