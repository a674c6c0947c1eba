import { tf } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { bitsPerDimension, denoise, dequantize, sequentialSampler, tarflowForward, tarflowLoss, updateVariance } from '../../src/index.ts';
import { loadModel, modelOf, toNCHW, toNHWC } from './model.ts';

const close = { abs: 2e-5 };

/** Dequantized pixels, noise, log-determinants, and bits per dimension of every image. */
export function bitsOfPixels(file: GoldenFile, all: Golden): number {
  const { model, config } = modelOf(file, all);
  const x = toNHWC(dequantize(file.tensor('pixels'), file.tensor('uniform')));
  expectClose(toNCHW(x), file.host('x'), close, 'x');
  const { z, logDet } = tarflowForward(model, x, config);
  expectClose(z, file.host('z'), close, 'z');
  expectClose(logDet, file.host('logdets'), close, 'logdets');
  const { bits, priorLogProb } = bitsPerDimension(model, x, config);
  expectClose(priorLogProb, file.host('prior_log_p'), { abs: 1e-2 }, 'prior_log_p');
  expectClose(bits, file.host('bpd'), close, 'bpd');
  return bits.size;
}

/** The gradient of the loss and the denoised images for every model and multiplier of the file. */
export function denoising(file: GoldenFile, all: Golden): number {
  const tags = file.keys().flatMap((key) => (key.endsWith('.lr1') ? [key.slice(0, -'.lr1'.length)] : []));
  let compared = 0;
  for (const tag of tags) {
    const { model, config } = loadModel(all.load(`weights_${tag}`));
    const x = toNHWC(file.tensor(`${tag}.x`));
    const y = file.has(`${tag}.y`) ? file.tensor(`${tag}.y`) : undefined;
    const sigma = Number(file.setting(`${tag}.sigma`));
    expectClose([x.size * sigma ** 2], file.host(`${tag}.lr1`), { rel: 1e-6 }, `${tag}.lr1`);
    const gradient = tf.grad((images) => tarflowLoss(model, images, config, y).loss)(x);
    expectClose(toNCHW(gradient), file.host(`${tag}.grad`), { abs: 1e-5 }, `${tag}.grad`);
    for (const key of file.keys(`${tag}.denoised_`)) {
      const multiplier = Number(key.slice(`${tag}.denoised_`.length));
      const clean = denoise(model, x, config, { sigma, multiplier, ...(y && { y }) });
      expectClose(toNCHW(clean), file.host(key), { abs: 1e-5 }, key);
      compared++;
    }
  }
  return compared;
}

/** The volume-preserving model: no log-determinant, the prior's variance after two batches, a sample from it. */
export function volumePreserving(file: GoldenFile, all: Golden): number {
  const { model, config } = modelOf(file, all);
  const x = toNHWC(file.tensor('x'));
  const { z, logDet } = tarflowForward(model, x, config);
  expectClose(z, file.host('z'), close, 'z');
  expectClose(logDet, file.host('logdets'), { abs: 0 }, 'logdets');
  expectClose(tf.reshape(tarflowLoss(model, x, config).loss, [1]), file.host('loss'), close, 'loss');
  const first = updateVariance(model.var, z);
  expectClose(first, file.host('var_after_1'), close, 'var_after_1');
  const second = updateVariance(first, tarflowForward(model, toNHWC(file.tensor('x2')), config).z);
  expectClose(second, file.host('var_after_2'), close, 'var_after_2');
  const sampler = sequentialSampler(config);
  const { images } = sampler.sample({ ...model, var: second }, file.tensor('noise'), {});
  expectClose(toNCHW(images), file.host('image'), close, 'image');
  sampler.dispose();
  return 1;
}
