/**
 * TensorFlow.js, with the original names of all values and types. One function is replaced by a corrected one, because it is wrong on every
 * engine. `tfjs.ts` builds the namespace `tf` from this.
 */
export * from '@tensorflow/tfjs';
export { logSumExp } from './log-sum-exp.ts';
