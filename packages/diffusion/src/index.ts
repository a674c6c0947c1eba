export * from './ddpm/index.ts';
