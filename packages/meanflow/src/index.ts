export * from './config.ts';
export { conditionalVelocity, interpolate, perSample, squaredNorm } from './path.ts';
export * from './time-sampler.ts';
export * from './objective.ts';
export * from './guidance.ts';
export * from './flow-matching.ts';
export * from './sampler.ts';
