import { tf, toTensor, unflattenTree, type HostTensor, type Tensor, type Tree } from '@atelier/tensor';
import type { GoldenFile } from './golden.ts';

// What the tests of `nn` and `diffusion` share of the files computed by facebookresearch/DiT.

// Files of the official PyTorch DiT hold images NCHW; ours are NHWC.
export const nchwToNhwc = (x: Tensor): Tensor => tf.transpose(x, [0, 2, 3, 1]);
export const nhwcToNchw = (x: Tensor): Tensor => tf.transpose(x, [0, 3, 1, 2]);

export const tree = (leaves: Record<string, HostTensor>): Tree =>
  unflattenTree(Object.fromEntries(Object.entries(leaves).map(([name, host]) => [name, toTensor(host)])));

/** The settings of the network in a file's metadata. */
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

/** The trained weights of a file; the position table, which is frozen, apart. */
export function weightsOf<Params extends Tree>(file: GoldenFile, prefix = 'w.'): { params: Params; positions: HostTensor } {
  const { pos_embed: positions, ...trained } = file.tensors(prefix);
  return { params: tree(trained) as Params, positions: positions! };
}

/** The file that a file's metadata names under `key`. */
export const named = (file: GoldenFile, key: string): string => file.metadata[key]!.replace(/\.safetensors$/, '');
