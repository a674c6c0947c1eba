export { type CausalMap, type CausalProblem, type Segment } from './causal-map.ts';
export { compileCausalMap, type CompiledMap } from './compiled-map.ts';
export { equalSegments, segmentRanges, segmentsFromEnds, type SegmentRange } from './segments.ts';
export { totalCost, type Cost, type SegmentReport, type Solution, type SolveReport, type Stop } from './solution.ts';
export { solveGsJacobi, type GsJacobiOptions } from './gs-jacobi.ts';
export { solveExactly, type ExactOptions, type ExactReport, type Proof } from './exact.ts';
