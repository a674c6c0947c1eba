import * as tf from './tensorflow.ts';

// TensorFlow.js advertises tfjs-node on stderr at its first use in Node; the engine is chosen by `useEngine` instead.
tf.env().set('PROD', true);

/**
 * The one TensorFlow.js instance of the workspace, values and types (`tf.Tensor`, `tf.Tensor2D`, …). `tf.ts` mends its derivatives, and everything
 * but those imports it from there.
 */
export { tf };

export type Tensor = tf.Tensor;
export type DataType = tf.DataType;
export type TypedArray = Float32Array | Int32Array | Uint8Array;
