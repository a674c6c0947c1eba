import {
  applySongUNet,
  attention,
  convolution,
  downsample,
  groupNorm,
  songUNetFromStateDict,
  timestepEmbedding,
  upsample,
  type SongUNetConfig,
  type SongUNetParams,
} from '@atelier/nn';
import { flattenTree, tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, type Golden, type GoldenFile } from '@atelier/testkit';
import { meanFlowLoss, meanFlowUNet, meanFlowUNetConfig, sampleMeanFlow, timesFromDraws, type MeanFlowLoss } from '../../src/index.ts';
import { casesWith, number, type Settings } from './cases.ts';
import { checkParts } from './losses.ts';
import { checkTimes, samplerOfPyTorch } from './time-samplers.ts';

const close = { abs: 2e-5 };

const list = (settings: Settings, key: string): number[] => {
  const value = settings[key];
  if (!Array.isArray(value)) throw new Error(`settings: ${key}: wanted a list, got ${String(value)}`);
  return value;
};

/** [B, C, H, W] -> [B, H, W, C], and the way back; tensors of another rank stay as they are. */
const last = (x: Tensor): Tensor => (x.rank === 4 ? tf.transpose(x, [0, 2, 3, 1]) : x);
const first = (x: Tensor): Tensor => (x.rank === 4 ? tf.transpose(x, [0, 3, 1, 2]) : x);

/** Settings and parameters of the network of a file, from its own `config` and the file that its `weights` names. */
function loadUNet(file: GoldenFile, all: Golden): { params: SongUNetParams; config: SongUNetConfig } {
  const settings = file.settings('config');
  for (const [key, wanted] of [
    ['encoder_type', 'standard'],
    ['decoder_type', 'standard'],
  ] as const)
    // prettier-ignore
    if ((settings[key] ?? wanted) !== wanted) throw new Error(`${file.name}: ${key}: wanted '${wanted}', got ${String(settings[key])}`);
  const config = meanFlowUNetConfig({
    resolution: number(settings, 'img_resolution'),
    inChannels: number(settings, 'in_channels'),
    outChannels: number(settings, 'out_channels'),
    numClasses: number(settings, 'label_dim', 0),
    augmentDim: number(settings, 'augment_dim', 0),
    channels: number(settings, 'model_channels'),
    channelMult: list(settings, 'channel_mult'),
    embeddingMult: number(settings, 'channel_mult_emb'),
    noiseMult: number(settings, 'channel_mult_noise'),
    blocks: number(settings, 'num_blocks'),
    attentionResolutions: list(settings, 'attn_resolutions'),
    dropout: number(settings, 'dropout'),
    filter: list(settings, 'resample_filter'),
  });
  const weights = all.load(file.metadata['weights'] ?? file.name);
  return { params: songUNetFromStateDict(weights.tensors(), config), config };
}

/** Every parameter is known by name and shape. */
export function unetWeights(file: GoldenFile, all: Golden): number {
  const leaves = flattenTree(loadUNet(file, all).params);
  const keys = file.keys().filter((key) => !key.endsWith('.resample_filter'));
  for (const key of keys) expectClose(leaves[key]!, file.host(key), {}, key);
  return keys.length;
}

/** The output of every module. */
export function unetForward(file: GoldenFile, all: Golden): number {
  const { params, config } = loadUNet(file, all);
  const stages: Record<string, Tensor> = {};
  const out = applySongUNet(
    params,
    last(file.tensor('x')),
    {
      times: [file.tensor('t'), file.tensor('h')],
      ...(file.has('aug_cond') && { augment: file.tensor('aug_cond') }),
      trace: (name, x) => (stages[`act.${name}`] = x),
    },
    config,
  );
  stages['out'] = out;
  const inputs = new Set(['x', 't', 'h', 'aug_cond']);
  const keys = file.keys().filter((key) => !inputs.has(key));
  for (const key of keys) {
    if (stages[key] === undefined) throw new Error(`${file.name}: wanted a stage of ours for '${key}', got none`);
    expectClose(first(stages[key]), file.host(key), close, key);
  }
  return keys.length;
}

/** Resampling, convolutions after it, group norms, time features and attention by themselves. */
export function unetOps(file: GoldenFile): number {
  const tight = { abs: 1e-5 };
  let checked = 0;
  const check = (key: string, value: Tensor): void => {
    expectClose(value, file.host(key), tight, key);
    checked++;
  };
  const x = last(file.tensor('resample.x'));
  for (const key of file.keys('resample.').filter((name) => name !== 'resample.x')) {
    const [, way, digits] = /^resample\.(up|down)_(\d+)$/.exec(key)!;
    check(key, first((way === 'up' ? upsample : downsample)(x, Array.from(digits!, Number))));
  }
  for (const name of casesWith(file, 'out').filter((key) => key.startsWith('conv3'))) {
    const p = { weight: file.tensor(`${name}.weight`), bias: file.tensor(`${name}.bias`) };
    const resampled = (name.includes('up') ? upsample : downsample)(x, [1, 3, 3, 1]);
    check(`${name}.out`, first(convolution(p, resampled, { padding: 1 })));
  }
  for (const name of casesWith(file, 'out').filter((key) => key.startsWith('groupnorm'))) {
    const settings = file.settings(name);
    const p = { weight: file.tensor(`${name}.weight`), bias: file.tensor(`${name}.bias`) };
    const options = { groups: number(settings, 'num_groups'), eps: number(settings, 'eps') };
    check(`${name}.out`, first(groupNorm(p, last(file.tensor(`${name}.x`)), options)));
  }
  const posemb = file.settings('posemb');
  const endpoint = posemb['endpoint'] === true;
  const options = { maxPeriod: number(posemb, 'max_positions'), endpoint };
  const width = number(posemb, 'num_channels');
  check('posemb.raw_cos_sin', timestepEmbedding(file.tensor('posemb.t'), width, { ...options, first: 'cos' }));
  check('posemb.swapped_sin_cos', timestepEmbedding(file.tensor('posemb.t'), width, { ...options, first: 'sin' }));
  // [B, 3C, T] -> 3 × [B, 1, T, C].
  const [q, k, v] = tf.split(file.tensor('attention.qkv'), 3, 1).map((part) => tf.expandDims(tf.transpose(part, [0, 2, 1]), 1));
  check('attention.out', tf.transpose(tf.squeeze(attention(q!, k!, v!), [1]), [0, 2, 1]));
  return checked;
}

/** The MeanFlow loss through the U-Net, and the gradient of every parameter. */
export function unetLoss(file: GoldenFile, all: Golden): number {
  const { params, config } = loadUNet(file, all);
  const cases = casesWith(file, 'u_tgt');
  let differentiated = 0;
  for (const name of cases) {
    const settings = file.settings(name);
    const draws = { t: file.tensor('normal_t'), r: file.tensor('normal_r'), equal: file.tensor('uniform') };
    const times = timesFromDraws(draws, samplerOfPyTorch(settings));
    checkTimes(file, name, times);
    const batch = { x: last(file.tensor('x')), e: last(file.tensor('e')), ...times };
    const options = { p: number(settings, 'norm_p'), c: number(settings, 'norm_eps') };
    const { aux, grads } = tf.tidy(() =>
      valueAndGrad((p: SongUNetParams) => {
        const network = meanFlowUNet(p, config, file.has('aug_cond') ? { augment: file.tensor('aug_cond') } : {});
        const parts = meanFlowLoss(network, batch, options);
        return { loss: parts.loss, aux: parts };
      }, params),
    );
    const parts = Object.fromEntries(Object.entries(aux).map(([key, value]) => [key, first(value)])) as MeanFlowLoss;
    checkParts(file, name, parts, { abs: 2e-5, rel: 2e-5, max: 2e-6 });
    if (!file.hasAny(`${name}.grad.`)) continue;
    const ours = flattenTree(grads);
    differentiated++;
    for (const key of file.keys(`${name}.grad.`))
      expectClose(ours[key.slice(`${name}.grad.`.length)]!, file.host(key), { max: 1e-4, abs: 1e-8 }, key);
  }
  // A case may come without its gradients, which are half of the file; not all of them.
  return differentiated === 0 ? 0 : cases.length;
}

/** Samples along every grid of the file, the official network without augmentation labels. */
export function unetSample(file: GoldenFile, all: Golden): number {
  const { params, config } = loadUNet(file, all);
  const network = meanFlowUNet(params, config);
  const e = last(file.tensor('e'));
  const keys = file.keys().filter((key) => key === 'one_step' || key.endsWith('.out'));
  for (const key of keys) {
    const grid = key === 'one_step' ? [1, 0] : Array.from(file.host(`${key.slice(0, -'.out'.length)}.grid`).data);
    expectClose(first(tf.tidy(() => sampleMeanFlow(network, e, { grid }))), file.host(key), close, key);
  }
  return keys.length;
}
