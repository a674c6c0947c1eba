export * from './ddpm/index.ts';
export * from './flow/index.ts';
