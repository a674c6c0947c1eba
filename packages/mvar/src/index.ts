export * from './ladder.ts';
export * from './resample.ts';
export * from './phi.ts';
export * from './quantizer.ts';
export * from './quantizer-objective.ts';
export * from './autoencoder.ts';
export * from './tokenizer.ts';
