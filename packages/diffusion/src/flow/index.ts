export { conditionalVelocity, interpolate, squaredNorm } from './path.ts';
export { timeDistribution, timeFromDraw, type TimeDistribution } from './time-law.ts';
export { adaptiveWeight, weightConfig, weightedError, type LossParts, type WeightConfig } from './weighted-error.ts';
export { flowMatchingLoss, type Velocity } from './objective.ts';
export { checkGrid, checkNoiseAndLabels, gridSteps, integrateVelocity, uniformGrid } from './sampler.ts';
