export * from './config.ts';
export * from './heads.ts';
export * from './objective.ts';
export * from './guidance.ts';
export * from './model.ts';
export { imfFlaxNames, imfParameterCount, imfParameters } from './parameters.ts';
