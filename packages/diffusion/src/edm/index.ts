export { karras, karrasSigma, karrasSigmas, lognormalSigma, type KarrasOptions } from './sigma.ts';
export {
  edmCoefficients,
  edmDenoised,
  edmDenoiser,
  edmWeight,
  SIGMA_DATA,
  type EdmCoefficients,
  type EdmDenoiser,
} from './preconditioning.ts';
export { drawEdm, edmLoss, type EdmBatch, type EdmLoss } from './objective.ts';
export { edmSampler, type EdmSampleOptions, type EdmSamplerNetwork, type EdmSamplerOptions, type EdmStep } from './sampler.ts';
