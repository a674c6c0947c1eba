import * as datasets from '@atelier/datasets';
import * as diffusion from '@atelier/diffusion';
import * as gsJacobi from '@atelier/gs-jacobi';
import * as magi1 from '@atelier/magi1';
import { meanFlowLoss, sampleMeanFlow } from '@atelier/meanflow';
import * as metrics from '@atelier/metrics';
import * as mvar from '@atelier/mvar';
import * as nn from '@atelier/nn';
import * as sid from '@atelier/sid';
import * as swinDit from '@atelier/swin-dit';
import * as tarflow from '@atelier/tarflow';
import { compile, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import * as vsa from '@atelier/vsa';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import plain from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import simd from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import threaded from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';

// Twenty steps of MeanFlow on points and one step of sampling, on every engine of a page.
setWasmPaths({ 'tfjs-backend-wasm.wasm': plain, 'tfjs-backend-wasm-simd.wasm': simd, 'tfjs-backend-wasm-threaded-simd.wasm': threaded });
const packages = { datasets, diffusion, gsJacobi, magi1, metrics, mvar, nn, sid, swinDit, tarflow, vsa };

type Weights = { w: Tensor; b: Tensor; out: Tensor };
const network =
  ({ w, b, out }: Weights) =>
  (z: Tensor, t: Tensor, h: Tensor) =>
    tf.matMul(tf.tanh(tf.add(tf.matMul(tf.concat([z, t.reshape([-1, 1]), h.reshape([-1, 1])], 1), w), b)), out);

async function train(): Promise<{ first: number; last: number; mean: number[] }> {
  const rng = new Rng('page');
  const { adamW } = nn;
  const optimizer = adamW();
  let params: Weights = {
    w: tf.mul(rng.child('w').normal([4, 32]), 0.5),
    b: tf.zeros([32]),
    out: tf.mul(rng.child('out').normal([32, 2]), 0.1),
  };
  let state = optimizer.init(params);
  const step = compile((p: Weights, s: typeof state, x: Tensor, e: Tensor, t: Tensor, r: Tensor, rate: Tensor) => {
    const { loss, grads } = valueAndGrad(
      (q: Weights) => ({ loss: meanFlowLoss(network(q), { x, e, t, r }, { p: 0, c: 0 }).loss, aux: {} }),
      p,
    );
    return { ...optimizer.update(grads, s, p, rate), loss };
  });
  const losses: number[] = [];
  for (let i = 0; i < 20; i++) {
    const draw = rng.child(i);
    const [x, e, t] = [tf.add(tf.mul(draw.normal([64, 2]), 0.3), 1), draw.normal([64, 2]), draw.uniform([64])];
    const next = step(params, state, x, e, t, tf.mul(t, draw.uniform([64])), tf.scalar(0.02));
    [params, state] = [next.params, next.state];
    losses.push((await next.loss.data())[0]!);
  }
  const mean = await tf.mean(sampleMeanFlow(network(params), rng.child('noise').normal([64, 2])), 0).data();
  return { first: losses[0]!, last: losses.at(-1)!, mean: [...mean] };
}

const report: Record<string, unknown> = { packages: Object.entries(packages).map(([name, all]) => [name, Object.keys(all).length]) };
for (const engine of ['cpu', 'wasm', 'webgl']) {
  try {
    await useEngine(engine);
    report[engine] = await train();
  } catch (error) {
    report[engine] = String(error);
  }
}
report['default'] = await useEngine().catch(String);
report['ort'] = await useEngine('ort').catch(String);
await fetch('/report', { method: 'POST', body: JSON.stringify(report) });
