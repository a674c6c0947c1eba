import * as tf from '@tensorflow/tfjs';

// At its first use in Node, TensorFlow.js prints a recommendation of tfjs-node on stderr. This package replaces tfjs-node, so it is silenced.
tf.env().set('PROD', true);

export { tf };
