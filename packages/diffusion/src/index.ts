export { lastOf, type Sampler } from './sampler.ts';
export * from './ddpm/index.ts';
export * from './flow/index.ts';
export * from './edm/index.ts';
