import { flattenTree, tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import { expect } from 'vitest';
import {
  areaResample,
  autoencoderConfig,
  bicubicResample,
  decode,
  encode,
  lookUp,
  nearestCodes,
  nextInput,
  phi,
  phiIndices,
  quantize,
  quantizerConfig,
  quantizerLoss,
  reconstruct,
  scalesOf,
  teacherInputs,
  type AutoencoderConfig,
  type DecoderParams,
  type EncoderParams,
  type QuantizerConfig,
  type QuantizerParams,
} from '../../src/index.ts';
import { channelsFirst, channelsLast, json, treeOf } from './layout.ts';

/** Area and bicubic resampling of every size in the file, with the gradients that it holds. */
export function resampling(file: GoldenFile): number {
  const x = channelsLast(file.tensor('x'));
  const H = x.shape[1]!;
  let cases = 0;
  const check = (kind: string, given: Tensor, gradient: string, run: (v: Tensor) => Tensor): void => {
    expectClose(channelsFirst(run(given)), file.host(kind), { abs: 1e-5 }, kind);
    cases++;
    if (!file.has(`${kind}_cot`)) return;
    const { grads } = tf.valueAndGrads((v: Tensor) => run(v))([given], channelsLast(file.tensor(`${kind}_cot`)));
    expectClose(channelsFirst(grads[0]!), file.host(`${kind}_${gradient}`), { abs: 1e-5 }, `${kind} gradient`);
  };
  for (const key of file.keys('area_').filter((name) => /^area_\d+$/.test(name)))
    check(key, x, 'gradx', (v) => areaResample(v, Number(key.slice('area_'.length))));
  for (const key of file.keys('bicubic_').filter((name) => /^bicubic_\d+$/.test(name)))
    check(key, channelsLast(file.tensor(key.replace('bicubic', 'src'))), 'gradsrc', (v) => bicubicResample(v, H));
  return cases;
}

/** Which convolution each scale uses, and one convolution with its gradients. */
export function phis(file: GoldenFile): number {
  const tables = file.keys('phi_index_');
  for (const key of tables) {
    const [, kind, scales] = /^phi_index_(nonshared|shared|partial\d+)_S(\d+)$/.exec(key)!;
    const shared = kind === 'nonshared' ? 0 : kind === 'shared' ? 1 : Number(kind!.slice('partial'.length));
    expect([key, phiIndices(Number(scales), shared)]).toEqual([key, Array.from(file.host(key).data)]);
  }
  const ratio = Number(file.setting('quant_resi'));
  const inputs = [channelsLast(file.tensor('phi_in')), file.tensor('phi.weight'), file.tensor('phi.bias')];
  const run = (x: Tensor, weight: Tensor, bias: Tensor): Tensor => phi({ weight, bias }, x, ratio);
  const cotangent = channelsLast(file.tensor('phi_cot'));
  const { value, grads } = tf.valueAndGrads(run as (...of: Tensor[]) => Tensor)(inputs, cotangent);
  expectClose(channelsFirst(value), file.host('phi_out'), { abs: 5e-6 }, 'phi');
  expectClose(channelsFirst(grads[0]!), file.host('phi_grad_in'), { abs: 5e-6 }, 'gradient of x');
  expectClose(grads[1]!, file.host('phi_grad_weight'), { max: 5e-6, abs: 5e-6 }, 'gradient of the weight');
  expectClose(grads[2]!, file.host('phi_grad_bias'), { max: 5e-6, abs: 5e-6 }, 'gradient of the bias');
  return tables.length + 1;
}

/** The quantizer that a file's metadata describes. */
export function quantizerOf(file: GoldenFile): QuantizerConfig {
  return quantizerConfig.parse({
    ladder: json<number[]>(file, 'patch_nums'),
    codes: Number(file.setting('vocab_size')),
    channels: Number(file.setting('Cvae')),
    ratio: Number(file.setting('quant_resi')),
    ...(file.metadata['share_quant_resi'] !== undefined && { shared: Number(file.setting('share_quant_resi')) }),
  });
}

const quantizerParams = (file: GoldenFile, prefix = 'quantize.'): QuantizerParams => treeOf(file.tensors(prefix)) as QuantizerParams;

/** Token maps, running reconstructions, the transformer's inputs, and the way from tokens back. */
export function quantizing(file: GoldenFile): number {
  const config = quantizerOf(file);
  const p = quantizerParams(file);
  const f = channelsLast(file.tensor('f'));
  const scales = scalesOf(config.ladder);
  const { indices, reconstructions } = quantize(p, f, config);
  const again = reconstruct(p, indices, config);
  scales.forEach((_, l) => {
    expectClose(indices[l]!, file.host(`idx_${l}`), {}, `idx_${l}`);
    expectClose(channelsFirst(reconstructions[l]!), file.host(`fhat_${l}`), { abs: 1e-5 }, `fhat_${l}`);
    expectClose(channelsFirst(again[l]!), file.host(`fhat_${l}`), { abs: 1e-5 }, `fhat_${l} from the tokens`);
    const next = scales[Math.min(l + 1, scales.length - 1)]!;
    const input = channelsFirst(tf.reshape(nextInput(reconstructions[l]!, next), [-1, next.side, next.side, config.channels]));
    expectClose(input, file.host(`ar_next_${l}`), { abs: 1e-5 }, `ar_next_${l}`);
  });
  expectClose(teacherInputs(again, config.ladder), file.host('teacher_input'), { abs: 1e-5 }, 'teacher_input');
  expectClose(channelsFirst(again.at(-1)!), file.host('embed_to_fhat_last'), { abs: 1e-5 }, 'embed_to_fhat_last');
  const cosine = quantize(p, f, { ...config, cosine: true });
  scales.forEach((_, l) => expectClose(cosine.indices[l]!, file.host(`znorm_idx_${l}`), {}, `znorm_idx_${l}`));
  const codes = lookUp(p, indices[0]!, scales[0]!);
  expectClose(nearestCodes(p.embedding.weight, codes, false), indices[0]!, {}, 'a code is its own nearest');
  return scales.length;
}

/** The training loss and its gradients to latents, codebook and Φ, with that of the decoder passed straight through. */
export function quantizerTraining(file: GoldenFile): number {
  const config = quantizerOf(file);
  const [, weight, share] = /^([\d.]+)\*vq_loss \+ ([\d.]+)\*sum\(fhat_out\*cot\)$/.exec(String(file.setting('objective')))!;
  const cotangent = channelsLast(file.tensor('cot'));
  const at = { f: channelsLast(file.tensor('f')), quantize: quantizerParams(file) };
  const { aux, grads } = valueAndGrad((v: typeof at) => {
    const { reconstruction, loss } = quantizerLoss(v.quantize, v.f, config, Number(file.setting('beta')));
    const passed = tf.sum(tf.mul(reconstruction, cotangent));
    return { loss: tf.add(tf.mul(loss, Number(weight)), tf.mul(passed, Number(share))), aux: { reconstruction, loss } };
  }, at);
  expectClose(channelsFirst(aux.reconstruction), file.host('fhat_out'), { abs: 1e-5 }, 'fhat_out');
  expectClose(aux.loss, file.host('vq_loss'), { abs: 1e-5 }, 'vq_loss');
  expectClose(channelsFirst(grads.f), file.host('grad.f'), { abs: 1e-5 }, 'gradient of f');
  const wanted = file.tensors('grad.quantize.');
  const got = flattenTree(grads.quantize);
  expect(Object.keys(got).sort()).toEqual(Object.keys(wanted).sort());
  for (const [name, gradient] of Object.entries(wanted)) expectClose(got[name]!, gradient, { abs: 1e-5 }, `gradient of ${name}`);
  return Object.keys(wanted).length;
}

function autoencoderOf(file: GoldenFile, side: 'encoder' | 'decoder'): AutoencoderConfig {
  type Official = { ch: number; ch_mult: number[]; num_res_blocks: number; in_channels: number; using_sa: boolean; using_mid_sa: boolean };
  const official = json<Official>(file, 'config');
  return autoencoderConfig.parse({
    imageChannels: official.in_channels,
    latentChannels: side === 'encoder' ? file.host('out').shape[1]! : file.host('x').shape[1]!,
    width: official.ch,
    multipliers: official.ch_mult,
    blocks: official.num_res_blocks,
    attention: official.using_sa,
    middleAttention: official.using_mid_sa,
  });
}

/** The convolutional encoder: every weight has its place. */
export function encoder(file: GoldenFile): number {
  const out = encode(treeOf(file.tensors('w.')) as EncoderParams, channelsLast(file.tensor('x')), autoencoderOf(file, 'encoder'));
  expectClose(channelsFirst(out), file.host('out'), { abs: 2e-5 }, 'encoder');
  return 1;
}

export function decoder(file: GoldenFile): number {
  const out = decode(treeOf(file.tensors('w.')) as DecoderParams, channelsLast(file.tensor('x')), autoencoderOf(file, 'decoder'));
  expectClose(channelsFirst(out), file.host('out'), { abs: 2e-5 }, 'decoder');
  return 1;
}
