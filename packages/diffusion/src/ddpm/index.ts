export { cosineBetas, linearBetas } from './beta-schedule.ts';
export { diffusionTables, type DiffusionTables } from './tables.ts';
export { keptSteps, respace } from './respacing.ts';
export { diffuse, type Variance } from './process.ts';
export { discretizedGaussianLogLikelihood, normalKl } from './likelihood.ts';
export {
  diffusionLoss,
  drawDiffusion,
  variationalTerm,
  type DiffusionBatch,
  type DiffusionLoss,
  type NoisePredictor,
} from './objective.ts';
export { guide, guidedNetwork, type GuidanceOptions, type LabelledPredictor } from './guidance.ts';
export {
  ddimSampler,
  ddpmSampler,
  stepNoise,
  type DiffusionSampler,
  type ReverseOptions,
  type ReverseStep,
  type SampleOptions,
  type SamplerNetwork,
} from './sampler.ts';
