const { compile, Rng, tf, useEngine, valueAndGrad } = require('@atelier/tensor');
const { meanFlowLoss } = require('@atelier/meanflow');

// CommonJS: the gradient of a compiled MeanFlow loss.
async function main() {
  await useEngine();
  const rng = new Rng(1);
  const [x, e, t, r] = [rng.normal([4, 2]), rng.normal([4, 2]), tf.fill([4], 0.7), tf.fill([4], 0.2)];
  const loss = (w) => meanFlowLoss((z) => tf.matMul(z, w), { x, e, t, r }, { p: 0, c: 0 }).loss;
  const step = compile((w) => valueAndGrad((p) => ({ loss: loss(p), aux: {} }), w).grads);
  const gradient = await step(tf.ones([2, 2])).data();
  console.log(gradient.length === 4 && gradient.every(Number.isFinite) ? 'right' : 'wrong');
}
main();
