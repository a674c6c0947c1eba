import * as tf from './tensorflow.ts';

// At its first use in Node, TensorFlow.js prints a recommendation of tfjs-node on stderr. Here `useEngine` chooses the engine, so it is silenced.
tf.env().set('PROD', true);

/**
 * The one TensorFlow.js instance of the workspace, values and types (`tf.Tensor`, `tf.Tensor2D`, …). `tf.ts` corrects its derivatives. All code except
 * these corrections imports it from `tf.ts`.
 */
export { tf };

export type Tensor = tf.Tensor;
export type DataType = tf.DataType;
export type TypedArray = Float32Array | Int32Array | Uint8Array;
