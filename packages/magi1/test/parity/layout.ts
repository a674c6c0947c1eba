import { tf, toTensor, type Tensor } from '@atelier/tensor';
import type { Golden, GoldenFile } from '@atelier/testkit';
import { magiConfig, magiFromStateDict, type MagiConfig, type MagiParams, type Prompt } from '../../src/index.ts';

/** Metadata in JSON. */
export const json = <T>(file: GoldenFile, key: string): T => {
  const text = file.metadata[key];
  if (text === undefined) throw new Error(`golden ${file.name}: wanted metadata '${key}'`);
  return JSON.parse(text) as T;
};

/** Videos of the files are [B, C, T, H, W]; ours [B, T, H, W, C]. */
export const video = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 3, 4, 1]);
export const official = (x: Tensor): Tensor => tf.transpose(x, [0, 4, 1, 2, 3]);

type OfficialModel = Record<string, number> & { half_channel_vae: boolean; gated_linear_unit: boolean };

/** The network of a file that names its weights, and what its calls are made with. */
export function networkOf(file: GoldenFile, all: Golden): { config: MagiConfig; params: MagiParams; file: GoldenFile } {
  const weights = file.name.startsWith('dit_weights') ? file : all.load(file.metadata['weights']!);
  const m = json<OfficialModel>(weights, 'model_config');
  const config = magiConfig.parse({
    layers: m['num_layers'],
    width: m['hidden_size'],
    hidden: m['ffn_hidden_size'],
    heads: m['num_attention_heads'],
    kvHeads: m['num_query_groups'],
    headDim: m['kv_channels'],
    gated: m.gated_linear_unit,
    channels: m['in_channels']! / (m.half_channel_vae ? 2 : 1),
    halfChannel: m.half_channel_vae,
    rescale: m['x_rescale_factor'],
    patch: [m['patch_size'], m['patch_size']],
    captionChannels: m['caption_channels'],
    captionLength: m['caption_max_length'],
    nullTokens: Math.min(50, m['caption_max_length']!),
  });
  return { config, params: magiFromStateDict(weights.tensors(), config), file: weights };
}

/** Texts of chunks, y [n, 1, L, Y] and y_mask [n, 1, L] (batch 1) -> features [1, n, L, Y], mask [1, n, L]. */
export function textsOf(file: GoldenFile): { features: Tensor; mask: Tensor } {
  const [n, , L, Y] = file.host('y').shape as [number, number, number, number];
  return {
    features: tf.reshape(file.tensor('y'), [1, n, L, Y]),
    mask: tf.greater(tf.reshape(file.tensor('y_mask'), [1, n, L]), 0),
  };
}

/** The prompt of a chunk in a file of a whole run, whose y is [2, n, L, Y]: texts, then null texts. */
export function promptOf(file: GoldenFile, chunk: number): Prompt {
  const [, , L, Y] = file.host('y').shape as [number, number, number, number];
  return {
    features: tf.slice(file.tensor('y'), [0, chunk, 0, 0], [1, 1, L, Y]).reshape([1, L, Y]),
    mask: tf.greater(tf.slice(file.tensor('y_mask'), [0, chunk, 0], [1, 1, L]).reshape([1, L]), 0),
  };
}

/** Whole numbers of a file. */
export const integers = (file: GoldenFile, key: string): number[] => Array.from(file.host(key).data);

/** A row of a table of integers. */
export function row(file: GoldenFile, key: string, at: number): number[] {
  const { shape, data } = file.host(key);
  const width = shape.slice(1).reduce((a, b) => a * b, 1);
  return Array.from(data.slice(at * width, (at + 1) * width));
}

/** A tensor [n, …] of a file, cut to one entry. */
export function entry(file: GoldenFile, key: string, at: number): Tensor {
  const { shape, data, dtype } = file.host(key);
  const size = shape.slice(1).reduce((a, b) => a * b, 1);
  return toTensor({ dtype, shape: shape.slice(1), data: data.slice(at * size, (at + 1) * size) });
}
