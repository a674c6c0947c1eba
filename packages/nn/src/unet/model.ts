import { dims, flattenTree, type Rng, tf, type Tensor } from '@atelier/tensor';
import { spatialAttention, type SpatialAttentionParams } from '../attention/spatial.ts';
import { silu } from '../layers/activation.ts';
import { convolution, type ConvolutionParams } from '../layers/convolution.ts';
import { timestepEmbedding } from '../layers/embedding.ts';
import { groupNorm } from '../layers/group-norm.ts';
import { linear, type LinearParams } from '../layers/linear.ts';
import { downsample, upsample } from '../layers/resample.ts';
import { initParameters } from '../parameters/init.ts';
import type { SongUNetConfig } from './config.ts';
import { dropoutOf, type DropoutFactors } from './dropout.ts';
import { groupsOf, songUNetLayout, songUNetParameters, type UNetBlock } from './layout.ts';

type NormParams = { weight: Tensor; bias: Tensor };

/** Parameters of one block; `skip` where channels or size change, the last three where it attends. */
export type UNetBlockParams = {
  norm0: NormParams;
  conv0: ConvolutionParams;
  affine: LinearParams;
  norm1: NormParams;
  conv1: ConvolutionParams;
  skip?: ConvolutionParams;
  norm2?: NormParams;
  qkv?: ConvolutionParams;
  proj?: ConvolutionParams;
};

/** Parameters under their official names: `enc['32x32_conv']`, `enc['32x32_block0'].norm0.weight`, … */
export type SongUNetParams = {
  map_label?: LinearParams;
  map_augment?: { weight: Tensor };
  map_layer0: LinearParams;
  map_layer1: LinearParams;
  enc: Readonly<Record<string, UNetBlockParams | ConvolutionParams>>;
  dec: Readonly<Record<string, UNetBlockParams | ConvolutionParams | NormParams>>;
};

/** What the network is told beside the image. */
export type SongUNetInputs = {
  /** [B] float32 each, as many as `config.times`: a noise level (ln σ / 4 in EDM), or MeanFlow's t and t - r. */
  times: readonly Tensor[];
  /** Classes [B] int32, `numClasses` standing for "no class", or weights of the classes [B, numClasses] float32. Absent: no class. */
  labels?: Tensor;
  /** Augmentation labels [B, augmentDim]; absent is the same as zeros. */
  augment?: Tensor;
  /** Factors of the dropout, see `drawDropout`; absent: none. */
  dropout?: DropoutFactors;
  /** Is handed every module's output by name, for tests and pictures. */
  trace?: (name: string, x: Tensor) => void;
};

/** The encoder's outputs from the first to the last, which the decoder takes back, and the embedding of times and labels [B, E]. */
export type UNetFeatures = { skips: readonly Tensor[]; embedding: Tensor };

/** New parameters with the official start. The caller owns them. */
export function initSongUNet(rng: Rng, config: SongUNetConfig): SongUNetParams {
  return initParameters(rng, songUNetParameters(config)) as SongUNetParams;
}

/**
 * The U-Net "DDPM++" (arXiv 2206.00364; NVlabs/edm and Gsunshine/py-meanflow call it SongUNet): [B, H, W, inChannels] -> [B, H, W, outChannels].
 *
 * @throws Error if a side cannot be halved once for each level but the first, or an input does not fit the settings
 */
export function applySongUNet(params: SongUNetParams, x: Tensor, inputs: SongUNetInputs, config: SongUNetConfig): Tensor {
  return decodeSongUNet(params, encodeSongUNet(params, x, inputs, config), inputs, config);
}

/** The encoder alone; its last output [B, h, w, C], at the lowest resolution, is what a discriminator on the network's own features reads. */
export function encodeSongUNet(params: SongUNetParams, x: Tensor, inputs: SongUNetInputs, config: SongUNetConfig): UNetFeatures {
  const where = 'songUNet';
  const { B, H, W } = dims<'B' | 'H' | 'W'>(x, 'B H W C', `${where}: x`, { C: config.inChannels });
  const factor = 2 ** (config.channelMult.length - 1);
  for (const [side, size] of Object.entries({ H, W }))
    if (size % factor !== 0)
      throw new Error(`${where}: x: wanted ${side} a multiple of ${factor}, which ${config.channelMult.length} levels halve, got ${size}`);
  const layout = songUNetLayout(config);
  const embedding = embed(params, inputs, config, B);
  const stem = convolution(moduleOf<ConvolutionParams>(params, layout.stem), x, { padding: 1 });
  inputs.trace?.(layout.stem, stem);
  const skips = [stem];
  for (const block of layout.encoder) skips.push(applyBlock(params, block, skips.at(-1)!, embedding, inputs, config));
  return { skips, embedding };
}

/** The decoder, from the encoder's outputs: -> [B, H, W, outChannels]. */
export function decodeSongUNet(params: SongUNetParams, features: UNetFeatures, inputs: SongUNetInputs, config: SongUNetConfig): Tensor {
  const layout = songUNetLayout(config);
  const skips = [...features.skips];
  let x = skips.at(-1)!;
  for (const block of layout.decoder) {
    const joined = block.skip === undefined ? x : tf.concat([x, skips.pop()!], 3); // -> [B, h, w, inputs]
    x = applyBlock(params, block, joined, features.embedding, inputs, config);
  }
  const normal = groupNorm(moduleOf<NormParams>(params, layout.auxNorm), x, normOptions(layout.headChannels));
  inputs.trace?.(layout.auxNorm, normal);
  const out = convolution(moduleOf<ConvolutionParams>(params, layout.auxConv), silu(normal), { padding: 1 });
  inputs.trace?.(layout.auxConv, out);
  return out;
}

/** Times, class and augmentation labels as one vector [B, E]. */
function embed(params: SongUNetParams, inputs: SongUNetInputs, config: SongUNetConfig, B: number): Tensor {
  const where = 'songUNet';
  if (inputs.times.length !== config.times) throw new Error(`${where}: times: wanted ${config.times} of them, got ${inputs.times.length}`);
  const features = inputs.times.map((time, i) => {
    dims(time, 'B', `${where}: times: ${i}`, { B });
    return timestepEmbedding(time, config.channels * config.noiseMult, { first: 'sin', endpoint: true });
  });
  let sum = features.length === 1 ? features[0]! : tf.concat(features, 1);
  if (params.map_label !== undefined) {
    const weights = classWeights(inputs.labels, config.numClasses, B);
    sum = tf.add(sum, linear(params.map_label, tf.mul(weights, Math.sqrt(config.numClasses))));
  } else if (inputs.labels !== undefined) throw new Error(`${where}: labels: wanted none, for the network has no classes, got some`);
  if (inputs.augment !== undefined) {
    if (params.map_augment === undefined) throw new Error(`${where}: augment: wanted none, for the network takes none, got some`);
    dims(inputs.augment, 'B A', `${where}: augment`, { B, A: config.augmentDim });
    sum = tf.add(sum, linear(params.map_augment, inputs.augment));
  }
  inputs.trace?.('map_layer0.in', sum);
  const hidden = linear(params.map_layer1, silu(linear(params.map_layer0, sum)));
  inputs.trace?.('map_layer1.out_before_silu', hidden);
  return silu(hidden);
}

function classWeights(labels: Tensor | undefined, N: number, B: number): Tensor {
  if (labels === undefined) return tf.zeros([B, N]);
  if (labels.rank === 2) {
    dims(labels, 'B N', 'songUNet: labels', { B, N });
    return labels;
  }
  dims(labels, 'B', 'songUNet: labels', { B });
  if (labels.dtype !== 'int32') throw new Error(`songUNet: labels: wanted int32 classes, got ${labels.dtype}`);
  const columns = tf.tensor(Int32Array.from({ length: N }, (_, k) => k), [1, N], 'int32'); // prettier-ignore
  return tf.cast(tf.equal(tf.reshape(labels, [B, 1]), columns), 'float32'); // -> [B, N], zeros for "no class"
}

/** One block: [B, h, w, inputs] -> [B, h', w', outputs]. */
function applyBlock(
  params: SongUNetParams,
  block: UNetBlock,
  x: Tensor,
  embedding: Tensor,
  inputs: SongUNetInputs,
  { filter, qkv: layout, dropout: rate }: SongUNetConfig,
): Tensor {
  const p = moduleOf<UNetBlockParams>(params, block.name);
  const resample = (image: Tensor): Tensor => {
    if (block.resample === undefined) return image;
    return block.resample === 'up' ? upsample(image, filter) : downsample(image, filter);
  };
  const { outputs } = block;
  let h = convolution(p.conv0, resample(silu(groupNorm(p.norm0, x, normOptions(block.inputs)))), { padding: 1 });
  h = tf.add(h, tf.reshape(linear(p.affine, embedding), [-1, 1, 1, outputs]));
  h = silu(groupNorm(p.norm1, h, normOptions(outputs)));
  const factors = inputs.dropout === undefined ? null : dropoutOf(inputs.dropout, block.name, h, rate);
  h = convolution(p.conv1, factors === null ? h : tf.mul(h, factors), { padding: 1 });
  const beside = p.skip === undefined ? x : convolution(p.skip, resample(x));
  let y = tf.mul(tf.add(h, beside), Math.SQRT1_2);
  if (block.attention) {
    const attending: SpatialAttentionParams = { norm: p.norm2!, qkv: p.qkv!, proj_out: p.proj! };
    y = tf.mul(spatialAttention(attending, y, { ...normOptions(outputs), layout }), Math.SQRT1_2);
  }
  inputs.trace?.(block.name, y);
  return y;
}

const normOptions = (C: number): { groups: number; eps: number } => ({ groups: groupsOf(C), eps: 1e-6 });

/** The module called `enc.…` or `dec.…`. */
function moduleOf<P>(params: SongUNetParams, name: string): P {
  const [side, rest] = [name.slice(0, 3) as 'enc' | 'dec', name.slice(4)];
  const found = params[side][rest];
  if (found === undefined)
    throw new Error(`songUNet: params: wanted '${name}', got only ${Object.keys(flattenTree(params[side])).length} others`);
  return found as P;
}
