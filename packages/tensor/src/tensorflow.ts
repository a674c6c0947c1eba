/**
 * TensorFlow.js with every value and type under its own name. One function, which is wrong on every engine, is replaced by a corrected one.
 * `tfjs.ts` builds the namespace `tf` from this.
 */
export * from '@tensorflow/tfjs';
export { logSumExp } from './log-sum-exp.ts';
