export type { Samples } from './samples.ts';
export { slicedWasserstein, wasserstein1d } from './wasserstein.ts';
export { energyDistance } from './energy.ts';
export { frechetDistance, frechetDistanceOfGaussians, gaussianMoments, type GaussianMoments } from './frechet.ts';
export { CONV_FEATURES, convFeatures, initConvFeatures, type ConvFeatures } from './conv-features.ts';
export { classShare, predictedClasses } from './class-share.ts';
export { symmetricSpectrum, type Spectrum } from './eigen.ts';
export { precisionRecall } from './precision-recall.ts';
