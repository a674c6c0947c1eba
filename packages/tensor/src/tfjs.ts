import * as tf from './tensorflow.ts';

// At its first use in Node, TensorFlow.js prints a recommendation of tfjs-node on stderr. Here `useEngine` chooses the engine, so the
// message is switched off.
tf.env().set('PROD', true);

/**
 * The only TensorFlow.js instance of the workspace, with values and types (`tf.Tensor`, `tf.Tensor2D`, …). `tf.ts` corrects its
 * derivatives. Only these corrections import it from here. All other code imports it from `tf.ts`.
 */
export { tf };

export type Tensor = tf.Tensor;
export type DataType = tf.DataType;
export type TypedArray = Float32Array | Int32Array | Uint8Array;
