export { type CausalMap, type CausalProblem, type Segment } from './causal-map.ts';
export { compileCausalMap, type CompiledMap } from './compiled-map.ts';
export { equalSegments, segmentRanges, segmentsFromEnds, type SegmentRange } from './segments.ts';
export { totalCost, type Cost, type SegmentReport, type Solution, type SolveReport, type Stop } from './solution.ts';
export { solveGsJacobi, type GsJacobiOptions } from './gs-jacobi.ts';
export { solveExactly, type ExactOptions, type ExactReport, type Proof } from './exact.ts';
export {
  blockPlan,
  everywhere,
  guessKinds,
  officialGuesses,
  officialStrategy,
  parseStrategy,
  publishedStrategies,
  readStrategy,
  strategy,
  type BlockPlan,
  type Guess,
  type OfficialGuess,
  type PublishedStrategy,
  type Strategy,
  type StrategyOptions,
} from './strategy.ts';
export { matrixNorm, normKinds, type NormKind } from './matrix-norm.ts';
export { bestGuesses, convergenceMetrics, crmShares, crmStack, type BlockMetrics } from './convergence-ranking.ts';
export { prepareBlock, tarflowMap, type BlockCache, type BlockInputs, type PreparedBlock, type TarFlowMap } from './tarflow-map.ts';
export { blockInverter, type BlockInverter, type BlockOptions, type BlockReport } from './block-inverter.ts';
export { gsJacobiSampler, type GsJacobiSample, type GsJacobiSampleOptions, type GsJacobiSampler, type WayToSample } from './sampler.ts';
export { meanGuesses, type BlockMeans } from './mean-guess.ts';
export { planStrategy, type PlannerOptions } from './planner.ts';
export { type Plan, type PlanConditions, type PlanMeasurements } from './plan.ts';
export { type Trial } from './trials.ts';
export { bestWithin, cheapestWithin, paretoFront, type Allocation, type Choice } from './allocation.ts';
