import { flattenTree, stopGradient, tf, valueAndGrad } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { conditioner, patchify, permute, tarflowForward, tarflowLoss, tokenContext } from '../../src/index.ts';
import { modelOf, toNCHW, toNHWC } from './model.ts';

const close = { abs: 2e-5 };
const closeGradient = { abs: 1e-5, rel: 1e-4 };

/** Every block's output and log-determinant, the raw outputs of its conditioner, the loss, and all gradients, with labels and without. */
export function forward(file: GoldenFile, all: Golden): number {
  const { model, config } = modelOf(file, all);
  const { var: _, ...params } = model;
  const x = toNHWC(file.tensor('x'));
  let compared = 0;
  const compare = (value: Parameters<typeof expectClose>[0], key: string, tolerance = close): void => {
    expectClose(value, file.host(key), tolerance, key);
    compared++;
  };
  compare(patchify(x, config.patchSize), 'patches', { abs: 0 });
  const passes = [{ prefix: '', y: file.has('y') ? file.tensor('y') : undefined }];
  if (file.hasAny('null.')) passes.push({ prefix: 'null.', y: undefined });
  for (const { prefix, y } of passes) {
    const out = tarflowForward(model, x, config, y);
    compare(out.z, `${prefix}z`);
    compare(out.logDet, `${prefix}logdets`);
    out.blocks.forEach(({ z, logDet }, k) => {
      compare(z, `${prefix}out.${k}`);
      compare(logDet, `${prefix}logdet.${k}`);
    });
    const { loss, grads } = tf.tidy(() =>
      valueAndGrad((at) => ({ loss: tarflowLoss(at.params, at.x, config, y).loss, aux: {} }), { params, x: stopGradient(x) }),
    );
    compare(tf.reshape(loss, [1]), `${prefix}loss`);
    if (file.has(`${prefix}grad.x`)) compare(toNCHW(grads.x), `${prefix}grad.x`, closeGradient);
    const byName = flattenTree(grads.params);
    if (file.hasAny(`${prefix}grad.blocks.`))
      for (const key of file.keys(`${prefix}grad.blocks.`)) {
        const gradient = byName[key.slice(`${prefix}grad.`.length)];
        if (gradient === undefined) throw new Error(`${file.name}: wanted a gradient of ours for '${key}', got none`);
        compare(gradient, key, closeGradient);
      }
  }
  // The raw outputs are those of each block on its official input.
  for (let k = 0; file.has(`raw_null_xa.${k}`); k++) {
    const input = k === 0 ? file.tensor('patches') : file.tensor(`out.${k - 1}`);
    const p = model.blocks[k]!;
    const raw = conditioner(p, permute(input, k), config, { context: tokenContext(p, k) });
    compare(raw.alpha, `raw_null_xa.${k}`);
    compare(raw.mu, `raw_null_xb.${k}`);
  }
  return compared;
}
