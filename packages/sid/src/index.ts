export {
  adversarialSettings,
  channelMean,
  crossEntropy,
  discriminatorLoss,
  discriminatorTerm,
  generatorAdversarialLoss,
  tokenMean,
  type AdversarialOptions,
  type Critic,
  type LogitOptions,
} from './adversarial.ts';
export { fewStepChain, type Chain, type ChainNoise, type ChainOptions } from './chain.ts';
export { sidUNetFromStateDict } from './checkpoint.ts';
export {
  matchingConfig,
  parseMatching,
  STABLE_ALPHA,
  weightingNames,
  type MatchingConfig,
  type MatchingOptions,
  type Weighting,
} from './config.ts';
export {
  dropCondition,
  guidanceScales,
  guidedDenoised,
  guidedOutput,
  type Condition,
  type GuidanceScales,
  type SidNetwork,
} from './guidance.ts';
export { sidUNetConfig, unetCritic, unetNetwork, type UNetExtras } from './model.ts';
export {
  fakeScoreLoss,
  generatorLoss,
  matchingWeight,
  teacherError,
  type FakeScoreLoss,
  type GeneratorLoss,
  type GeneratorLossOptions,
  type SidBatch,
} from './objective.ts';
export {
  addNoise,
  discreteLevels,
  edmParameterization,
  epsilonParameterization,
  flowParameterization,
  matchingSigma,
  stableDiffusionTables,
  velocityParameterization,
  type DiscreteOptions,
  type EdmOptions,
  type FlowOptions,
  type Parameterization,
  type TimeUse,
} from './parameterization.ts';
export {
  initPointNetwork,
  parsePointNetwork,
  pointCritic,
  pointNetwork,
  pointNetworkConfig,
  pointNetworkSize,
  type PointNetworkConfig,
  type PointNetworkParams,
} from './point-network.ts';
export { sidSampler, type SidSampleOptions, type SidSamplerOptions, type SidStep } from './sampler.ts';
export {
  adversarialPhase,
  cleanGradients,
  distillation,
  emaBeta,
  type AdversarialRecipe,
  type CriticOf,
  type DataFree,
  type Distillation,
  type FakeMetrics,
  type FakeState,
  type GeneratorDraws,
  type GeneratorMetrics,
  type GeneratorState,
  type NetworkOf,
  type Recipe,
  type UpdateDraws,
  type Weights,
  type WithData,
} from './training.ts';
