import * as tfModule from '@tensorflow/tfjs';
import { logSumExpOf } from './log-sum-exp.ts';

// Node loads TensorFlow.js as CommonJS, whose names appear below `default`; bundlers load it as an ES module.
const original: typeof tfModule = (tfModule as unknown as { default?: typeof tfModule }).default ?? tfModule;
const logSumExp = logSumExpOf(original);

/** The one TensorFlow.js instance of the workspace. `tf.ts` mends its derivatives, and everything but those imports it from there. `logSumExp` is our own, on every engine. */
export const tf = Object.create(original, { logSumExp: { value: logSumExp, enumerable: true } }) as typeof tfModule;
(tf.Tensor.prototype as { logSumExp: unknown }).logSumExp = function (this: Tensor, axis?: number | number[], keepDims?: boolean): Tensor {
  return logSumExp(this, axis, keepDims);
};

// TensorFlow.js advertises tfjs-node on stderr at its first use in Node; the engine is chosen by `useEngine` instead.
tf.env().set('PROD', true);

export type Tensor = tfModule.Tensor;
export type DataType = tfModule.DataType;
export type TypedArray = Float32Array | Int32Array | Uint8Array;
