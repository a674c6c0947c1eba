import { tf, toTensor, unflattenTree, type HostTensor, type Tensor, type Tree } from '@atelier/tensor';
import type { GoldenFile } from './golden.ts';

// Reads the golden files computed by facebookresearch/DiT, for the tests of `nn` and `diffusion`.

// Files of the official PyTorch DiT hold images NCHW; ours are NHWC.
export const nchwToNhwc = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 3, 1]);
export const nhwcToNchw = (x: Tensor): Tensor => tf.transpose(x, [0, 3, 1, 2]);

export const tree = (leaves: Record<string, HostTensor>): Tree =>
  unflattenTree(Object.fromEntries(Object.entries(leaves).map(([name, host]) => [name, toTensor(host)])));

/** The settings of the network, from the metadata of a file. */
export function settingsOf(file: GoldenFile) {
  const number = (key: string): number => Number(file.setting(key));
  return {
    inChannels: number('in_channels'),
    patchSize: number('patch_size'),
    width: number('hidden_size'),
    depth: number('depth'),
    heads: number('num_heads'),
    mlpRatio: number('mlp_ratio'),
    numClasses: number('num_classes'),
    nullClass: number('class_dropout_prob') > 0,
    learnSigma: file.setting('learn_sigma') === true,
  };
}

/** The trained weights of a file, and separately the position table, which is not trained. */
export function weightsOf<Params extends Tree>(file: GoldenFile, prefix = 'w.'): { params: Params; positions: HostTensor } {
  const { pos_embed: positions, ...trained } = file.tensors(prefix);
  return { params: tree(trained) as Params, positions: positions! };
}

/** The other file whose name stands under `key` in the metadata of a file. */
export const named = (file: GoldenFile, key: string): string => file.metadata[key]!.replace(/\.safetensors$/, '');
