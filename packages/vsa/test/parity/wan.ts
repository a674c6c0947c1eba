import { loadParameters, attention } from '@atelier/nn';
import { flattenTree, tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import {
  applyWan,
  blockNorm,
  blockParameters,
  videoRotaryTables,
  selectionMask,
  selfAttentionInputs,
  vsaStages,
  wanBlock,
  wanFromStateDict,
  type SelfAttentionInputs,
  type VsaStages,
  type WanBlockParams,
  type WanParams,
} from '../../src/index.ts';
import { grid } from './layout.ts';

const BLOCK = { max: 2e-5 };
const MODEL = { max: 5e-5 };

const number = (file: GoldenFile, key: string): number => Number(file.setting(key));

/** One block: all taps, output, gradients of the input and of the parameters that the file holds, and the dense block with the same weights. */
export function wanBlocks(file: GoldenFile): number {
  const [heads, headDim] = [number(file, 'heads'), number(file, 'head_dim')];
  const C = heads * headDim;
  const settings = { heads, headDim, ffnDim: number(file, 'ffn_dim'), layers: 1, inChannels: 1, textDim: 1 };
  const p = loadParameters(blockParameters(settings), file.tensors('param.'), {}, file.name) as WanBlockParams;
  const [x, text, modulation] = [file.tensor('hidden_states'), file.tensor('encoder_hidden_states'), file.tensor('temb')];
  const space = grid(file, 'video_shape');
  const rotary = videoRotaryTables(space, headDim);
  const sizes = { heads, eps: number(file, 'eps') };
  const keep = number(file, 'topk');
  const compare = (name: string, actual: Tensor): void => {
    const wanted = file.host(name);
    expectClose(tf.reshape(actual, wanted.shape), wanted, BLOCK, `${file.name}: ${name}`);
  };
  const tokens = (y: Tensor): Tensor => tf.transpose(y, [0, 2, 1, 3]);

  compare('rope_cos', rotary.cos);
  compare('rope_sin', rotary.sin);
  const normed = blockNorm(p, x, modulation, sizes.eps);
  compare('normed', normed);
  const still = { cos: tf.onesLike(rotary.cos), sin: tf.zerosLike(rotary.sin) };
  const before = selfAttentionInputs(p, normed, still, sizes);
  compare('attn_q_prerope', tokens(before.q));
  compare('attn_k_prerope', tokens(before.k));
  compare('attn_v', tokens(before.v));
  compare('gate', tokens(before.gate!));

  let stages: VsaStages | undefined;
  const sparse = ({ q, k, v, gate }: SelfAttentionInputs, tiles = keep): Tensor =>
    (stages = vsaStages(q, k, v, { grid: space, tile: grid(file, 'tile'), keep: tiles, gate: gate! })).out;
  const run = (at: { p: WanBlockParams; x: Tensor }, mix = sparse): Tensor =>
    wanBlock(at.p, at.x, { modulation, text }, rotary, (inputs) => mix(inputs), sizes);
  compare('out', run({ p, x }));
  compare('scores', stages!.scores);
  compare('attn_out', tokens(stages!.out));
  expectClose(selectionMask(stages!.lists, stages!.keyLayout.tiles), file.host('mask'), {}, `${file.name}: mask`);

  const { grads } = valueAndGrad(
    (at: { p: WanBlockParams; x: Tensor }) => ({ loss: tf.sum(tf.mul(run(at), file.tensor('dout'))), aux: {} }),
    { p, x },
  );
  compare('dhidden', grads.x);
  const all = flattenTree(grads.p);
  for (const [name, wanted] of Object.entries(file.tensors('grad.'))) expectClose(all[name]!, wanted, BLOCK, `${file.name}: grad.${name}`);

  const dense = wanBlock(p, x, { modulation, text }, rotary, ({ q, k, v }) => attention(q, k, v), sizes);
  compare('out_dense', dense);
  const closed = { ...p, to_gate_compress: { weight: tf.zeros([C, C]), bias: tf.zeros([C]) } };
  compare(
    'out_vsa_sparsity0_gate0',
    run({ p: closed, x }, (inputs) => sparse(inputs, stages!.keyLayout.tiles)),
  );
  return 3;
}

/** A whole network: the noisy video, output, loss, choices of every layer, and gradients. */
export function wanModels(file: GoldenFile): number {
  const heads = number(file, 'heads');
  const settings = {
    heads,
    headDim: number(file, 'head_dim'),
    ffnDim: number(file, 'ffn_dim'),
    layers: number(file, 'layers'),
    inChannels: number(file, 'in_channels'),
    textDim: number(file, 'text_dim'),
    freqDim: number(file, 'freq_dim'),
    patch: [...grid(file, 'patch')] as [number, number, number],
  };
  const params = wanFromStateDict(file.tensors('param.'), settings);
  const last = (name: string): Tensor => tf.transpose(file.tensor(name), [0, 2, 3, 4, 1]); // [B, C, F, H, W] -> [B, F, H, W, C]
  const [x0, e, t] = [last('x0'), last('eps'), file.tensor('sigma')];
  const noisy = tf.add(tf.mul(x0, tf.sub(1, t)), tf.mul(e, t));
  expectClose(noisy, last('x_t'), MODEL, `${file.name}: x_t`);
  const masks: Tensor[] = [];
  const run = (at: WanParams): Tensor =>
    applyWan(at, noisy, { t, text: file.tensor('text') }, settings, ({ q, k, v, gate }, { grid: space }) => {
      const stages = vsaStages(q, k, v, { grid: space, keep: number(file, 'topk'), gate: gate! });
      masks.push(selectionMask(stages.lists, stages.keyLayout.tiles));
      return stages.out;
    });
  expectClose(run(params), last('out'), MODEL, `${file.name}: out`);
  file.keys('mask.').forEach((key, layer) => expectClose(masks[layer]!, file.host(key), {}, `${file.name}: ${key}`));
  const { loss, grads } = valueAndGrad((at: WanParams) => ({ loss: tf.mean(tf.square(tf.sub(run(at), tf.sub(e, x0)))), aux: {} }), params);
  expectClose(loss, file.host('loss').data, MODEL, `${file.name}: loss`);
  const all = flattenTree(grads);
  const wanted = file.tensors('grad.');
  for (const [name, gradient] of Object.entries(wanted)) expectClose(all[name]!, gradient, MODEL, `${file.name}: grad.${name}`);
  // By the setting of a sparsity, the same tiles are kept.
  expectClose(
    applyWan(params, noisy, { t, text: file.tensor('text') }, settings, { sparsity: number(file, 'sparsity') }),
    last('out'),
    MODEL,
  );
  return 1 + Object.keys(wanted).length;
}
