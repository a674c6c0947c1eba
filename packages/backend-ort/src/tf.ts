import * as tf from '@tensorflow/tfjs';

// At its first use in Node, TensorFlow.js prints a recommendation of tfjs-node on stderr. This package replaces tfjs-node, so the message
// is switched off.
tf.env().set('PROD', true);

export { tf };
