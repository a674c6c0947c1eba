import type { Init, ParameterTable } from '../parameters/init.ts';
import type { SongUNetConfig } from './config.ts';

/** One block: what goes in and out, and what it does besides. */
export type UNetBlock = {
  /** Dotted path of its parameters, as `enc.8x8_block0`. */
  name: string;
  inputs: number;
  outputs: number;
  resample?: 'up' | 'down';
  attention: boolean;
  /** Decoder: channels of the encoder's output that is put beside the input; they are counted in `inputs`. */
  skip?: number;
  /** How often the sides of its output have been halved. */
  level: number;
};

/** The modules of the network in the order in which they run. */
export type UNetLayout = {
  /** The first convolution, `inChannels` to `channels`. */
  stem: string;
  encoder: UNetBlock[];
  decoder: UNetBlock[];
  /** Group norm and convolution at the end. */
  auxNorm: string;
  auxConv: string;
  /** Channels that they take. */
  headChannels: number;
};

/** Modules by their official names. */
export function songUNetLayout(config: SongUNetConfig): UNetLayout {
  const { channels, channelMult, blocks, resolution } = config;
  const side = (level: number): string => `${resolution / 2 ** level}x${resolution / 2 ** level}`;
  const attends = (level: number): boolean => config.attentionResolutions.includes(resolution / 2 ** level);
  const stem = `enc.${side(0)}_conv`;
  const encoder: UNetBlock[] = [];
  const skips = [channels];
  let width = channels;
  const encode = (block: UNetBlock): void => {
    encoder.push(block);
    width = block.outputs;
    skips.push(width);
  };
  channelMult.forEach((mult, level) => {
    if (level > 0) encode({ name: `enc.${side(level)}_down`, inputs: width, outputs: width, resample: 'down', attention: false, level });
    for (let i = 0; i < blocks; i++)
      encode({ name: `enc.${side(level)}_block${i}`, inputs: width, outputs: channels * mult, attention: attends(level), level });
  });

  const decoder: UNetBlock[] = [];
  for (let level = channelMult.length - 1; level >= 0; level--) {
    const plain = { inputs: width, outputs: width, level };
    if (level === channelMult.length - 1) {
      decoder.push({ name: `dec.${side(level)}_in0`, ...plain, attention: true });
      decoder.push({ name: `dec.${side(level)}_in1`, ...plain, attention: false });
    } else decoder.push({ name: `dec.${side(level)}_up`, ...plain, attention: false, resample: 'up' });
    for (let i = 0; i <= blocks; i++) {
      const skip = skips.pop()!;
      const outputs = channels * channelMult[level]!;
      const attention = i === blocks && attends(level);
      decoder.push({ name: `dec.${side(level)}_block${i}`, inputs: width + skip, outputs, attention, skip, level });
      width = outputs;
    }
  }
  return { stem, encoder, decoder, auxNorm: `dec.${side(0)}_aux_norm`, auxConv: `dec.${side(0)}_aux_conv`, headChannels: width };
}

/** Whether the block has a 1 × 1 convolution beside it: wherever the input cannot be added as it is. */
const hasSkipConvolution = ({ inputs, outputs, resample }: UNetBlock): boolean => inputs !== outputs || resample !== undefined;

/** Groups of a group norm of C channels: at least 4 channels each, at most 32 groups. */
export const groupsOf = (C: number): number => Math.min(32, Math.floor(C / 4));

/** Shape and official start of every parameter, by its official name: Xavier-uniform weights, 10⁻⁵ of it where a branch ends, biases 0. */
export function songUNetParameters(config: SongUNetConfig): ParameterTable {
  const layout = songUNetLayout(config);
  const features = config.times * config.channels * config.noiseMult;
  const width = config.channels * config.embeddingMult;
  const table: ParameterTable = {};
  const layer = (name: string, shape: number[], scale = 1): void => {
    table[`${name}.weight`] = { shape, init: xavier(shape, scale) };
    table[`${name}.bias`] = { shape: [shape[0]!], init: 'zeros' };
  };
  const norm = (name: string, C: number): void => {
    table[`${name}.weight`] = { shape: [C], init: 'ones' };
    table[`${name}.bias`] = { shape: [C], init: 'zeros' };
  };
  if (config.numClasses > 0) layer('map_label', [features, config.numClasses]);
  if (config.augmentDim > 0) {
    const shape = [features, config.augmentDim];
    table['map_augment.weight'] = { shape, init: xavier(shape, 1) };
  }
  layer('map_layer0', [width, features]);
  layer('map_layer1', [width, width]);
  layer(layout.stem, [config.channels, config.inChannels, 3, 3]);
  for (const block of [...layout.encoder, ...layout.decoder]) {
    const { name, inputs, outputs } = block;
    norm(`${name}.norm0`, inputs);
    layer(`${name}.conv0`, [outputs, inputs, 3, 3]);
    layer(`${name}.affine`, [outputs, width]);
    norm(`${name}.norm1`, outputs);
    layer(`${name}.conv1`, [outputs, outputs, 3, 3], 1e-5);
    if (hasSkipConvolution(block)) layer(`${name}.skip`, [outputs, inputs, 1, 1]);
    if (!block.attention) continue;
    norm(`${name}.norm2`, outputs);
    layer(`${name}.qkv`, [3 * outputs, outputs, 1, 1], Math.sqrt(0.2));
    layer(`${name}.proj`, [outputs, outputs, 1, 1], 1e-5);
  }
  norm(layout.auxNorm, layout.headChannels);
  layer(layout.auxConv, [config.outChannels, layout.headChannels, 3, 3], 1e-5);
  return table;
}

/** Uniform in ± scale·√(6/(fan_in + fan_out)), both fans counted with the kernel's k² places. */
function xavier(shape: readonly number[], scale: number): Init {
  const places = shape.slice(2).reduce((a, b) => a * b, 1);
  return { uniform: scale * Math.sqrt(6 / ((shape[0]! + shape[1]!) * places)) };
}
