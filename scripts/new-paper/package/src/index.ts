export { denoiserConfig, type DenoiserConfig, type DenoiserSettings } from './config.ts';
export { denoise, denoiserParameters, initDenoiser, type DenoiserParams } from './model.ts';
export { denoisingLoss, drawNoise, type DenoiserNetwork, type DenoisingBatch } from './objective.ts';
export { samplePoints } from './sampler.ts';
export { denoiserFromStateDict } from './checkpoint.ts';
export { leastError } from './linear-optimum.ts';
