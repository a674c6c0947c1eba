import { meanFlowLoss, sampleMeanFlow } from '@atelier/meanflow';
import { Rng, tf, useEngine } from '@atelier/tensor';
await useEngine();
const [rng, B] = [new Rng(1), 256];
const model = tf.sequential({ layers: [tf.layers.dense({ units: 64, activation: 'tanh', inputShape: [4] }), tf.layers.dense({ units: 2 })] });
const network = (z: tf.Tensor, t: tf.Tensor, h: tf.Tensor) => model.apply(tf.concat([z, t.reshape([B, 1]), h.reshape([B, 1])], 1)) as tf.Tensor;
const loss = () => {
  const [x, e, t] = [tf.add(tf.mul(rng.normal([B, 2]), 0.3), 1), rng.normal([B, 2]), rng.uniform([B])]; // data, noise, times
  return meanFlowLoss(network, { x, e, t, r: tf.mul(t, rng.uniform([B])) }, { p: 0, c: 0 }).loss as tf.Scalar;
};
for (let i = 0, adam = tf.train.adam(5e-3); i < 300; i++) adam.minimize(loss);
tf.mean(sampleMeanFlow(network, rng.normal([B, 2])), 0).print(); // near [1, 1], in one step
