/**
 * TensorFlow.js with every value and type under its own name, except what is wrong on every engine and stands here in a right form.
 * `tf.ts` makes the namespace `tf` of it.
 */
export * from '@tensorflow/tfjs';
export { logSumExp } from './log-sum-exp.ts';
