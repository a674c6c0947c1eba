import * as tfModule from '@tensorflow/tfjs';

/**
 * The one TensorFlow.js instance of the workspace; everything imports it from here.
 *
 * Node loads TensorFlow.js as CommonJS, whose names appear below `default`; bundlers load it as an ES module.
 */
export const tf: typeof tfModule = (tfModule as unknown as { default?: typeof tfModule }).default ?? tfModule;

// TensorFlow.js advertises tfjs-node on stderr at its first use in Node; the engine is chosen by `useEngine` instead.
tf.env().set('PROD', true);

export type Tensor = tfModule.Tensor;
export type DataType = tfModule.DataType;
export type TypedArray = Float32Array | Int32Array | Uint8Array;
