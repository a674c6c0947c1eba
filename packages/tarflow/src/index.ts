export * from './config.ts';
export { patchify, unpatchify } from './patch.ts';
export {
  blockForward,
  conditioner,
  conditionRows,
  permute,
  shiftByOne,
  tokenContext,
  type BlockParams,
  type Conditioner,
  type KeyValues,
  type LayerParams,
  type Mixer,
  type NormParams,
} from './block.ts';
export {
  checkLabelRange,
  checkLabels,
  checkModel,
  initTarFlow,
  tarflowForward,
  type Flow,
  type TarFlow,
  type TarFlowParams,
} from './model.ts';
export {
  blockGuidance,
  guidanceConfig,
  guidanceWarnings,
  guidanceWeights,
  readGuidance,
  type Guidance,
  type GuidanceConfig,
  type GuidanceOptions,
} from './guidance.ts';
export { reverseBlock } from './sequential.ts';
export { sequentialSampler, type Sample, type SampleOptions, type SequentialSampler, type SequentialStep } from './sampler.ts';
export { bitsPerDimension, dequantize, negativeLogLikelihood, tarflowLoss } from './objective.ts';
export { loadTarFlow, officialTarFlowConfig } from './checkpoint.ts';
export { tarflowSchedule, type TarFlowScheduleOptions } from './schedule.ts';
export {
  addNoise,
  drawNoise,
  dropLabels,
  initTraining,
  modelOfState,
  tarflowOptimizer,
  trainingStep,
  updateVariance,
  type NoiseLevel,
  type TrainingBatch,
  type TrainingState,
} from './training.ts';
export { denoise, type DenoiseOptions } from './denoise.ts';
export { classify } from './classify.ts';
