/**
 * TensorFlow.js with every value and type under its own name, except a function that is wrong on every engine and stands here in a right form.
 * `tfjs.ts` makes the namespace `tf` of it.
 */
export * from '@tensorflow/tfjs';
export { logSumExp } from './log-sum-exp.ts';
