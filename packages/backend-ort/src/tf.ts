import * as tf from '@tensorflow/tfjs';

// It advertises tfjs-node on stderr at its first use in Node; this package is what that advice would buy.
tf.env().set('PROD', true);

export { tf };
