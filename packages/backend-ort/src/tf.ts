import * as tfModule from '@tensorflow/tfjs';

/** TensorFlow.js, which Node loads as CommonJS (names below `default`) and bundlers as an ES module. */
export const tf: typeof tfModule = (tfModule as unknown as { default?: typeof tfModule }).default ?? tfModule;

// It advertises tfjs-node on stderr at its first use in Node; this package is what that advice would buy.
tf.env().set('PROD', true);
