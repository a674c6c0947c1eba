import { songUNetConfig, type SongUNetConfig } from '@atelier/nn';
import { flattenTree, parseConfig, tf, toTensor, unflattenTree, type Tensor, type Tree } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import type { Condition, SidNetwork } from '../../src/index.ts';

/** Relative to the largest value of a tensor; absolute errors of 10⁻⁷ are float32's. */
export const values = { max: 1e-4, abs: 1e-7 };
export const gradients = { max: 1e-3, abs: 1e-7 };
export const trained = { max: 2e-3, abs: 1e-7 };

/** [B, C, H, W] -> [B, H, W, C], and the way back; tensors of another rank stay as they are. */
const last = (x: Tensor): Tensor => (x.rank === 4 ? tf.transpose(x, [0, 2, 3, 1]) : x);
const first = (x: Tensor): Tensor => (x.rank === 4 ? tf.transpose(x, [0, 3, 1, 2]) : x);

export const image = (file: GoldenFile, key: string): Tensor => last(file.tensor(key));
export const number = (file: GoldenFile, key: string): number => {
  const value = file.setting(key);
  if (typeof value !== 'number') throw new Error(`${file.name}: ${key}: wanted a number, got ${String(value)}`);
  return value;
};
export const list = (file: GoldenFile, key: string): number[] => {
  const value = file.setting(key);
  if (typeof value === 'number') return [value];
  return Array.isArray(value) ? value : file.metadata[key]!.split(',').map(Number);
};

/** Parameters below a prefix, as `teacher.`, as a tree. */
export function treeOf<P extends Tree>(file: GoldenFile, prefix: string): P {
  const leaves = Object.entries(file.tensors(prefix)).map(([name, host]) => [name, toTensor(host)]);
  return unflattenTree(Object.fromEntries(leaves)) as P;
}

export type Mlp = { fc1: { weight: Tensor; bias: Tensor }; fc2: { weight: Tensor; bias: Tensor } };

const dense = ({ weight, bias }: { weight: Tensor; bias: Tensor }, x: Tensor): Tensor => tf.add(tf.matMul(x, weight, false, true), bias);
const silu = (x: Tensor): Tensor => tf.mul(x, tf.sigmoid(x));
/** The pixels of the files in their order, which is channels first. */
const flat = (x: Tensor): Tensor => tf.reshape(first(x), [x.shape[0]!, -1]);
const unflat = (y: Tensor, [B, H, W, C]: number[]): Tensor => last(tf.reshape(y, [B!, C!, H!, W!]));

/** fc2(SiLU(fc1[x, ln(σ)/4])): the network inside of the files' EDM-MLP. */
export const edmMlp =
  (p: Mlp): SidNetwork =>
  (x, t) =>
    unflat(dense(p.fc2, silu(dense(p.fc1, tf.concat([flat(x), tf.reshape(t, [-1, 1])], 1)))), x.shape);

/** fc2(SiLU(fc1[x, t/T, sin 2πt/T, cos 2πt/T, mean over the text])): the files' EpsMLP. */
export const epsilonMlp =
  (T: number) =>
  (p: Mlp): SidNetwork =>
  (x, t, text) => {
    const time = tf.reshape(tf.div(t, T), [-1, 1]);
    const angle = tf.mul(time, 2 * Math.PI);
    const input = tf.concat([flat(x), time, tf.sin(angle), tf.cos(angle), tf.mean(text!, 1)], 1);
    return unflat(dense(p.fc2, silu(dense(p.fc1, input))), x.shape);
  };

/** The text of a file and what stands for none. */
export const textOf = (file: GoldenFile): Condition => ({ given: file.tensor('in.ctx'), none: file.tensor('in.ctx_uncond') });

/** Settings of the U-Net of a file, `net.…` in its metadata. */
export function unetOf(file: GoldenFile): SongUNetConfig {
  const [resolution, channels] = [number(file, 'net.img_resolution'), number(file, 'net.img_channels')];
  return parseConfig(
    songUNetConfig,
    {
      resolution,
      inChannels: channels,
      outChannels: channels,
      numClasses: number(file, 'net.label_dim'),
      augmentDim: number(file, 'net.augment_dim'),
      channels: number(file, 'net.model_channels'),
      channelMult: list(file, 'net.channel_mult'),
      embeddingMult: number(file, 'net.channel_mult_emb'),
      blocks: number(file, 'net.num_blocks'),
      attentionResolutions: list(file, 'net.attn_resolutions'),
      dropout: number(file, 'net.dropout'),
    },
    file.name,
  );
}

/** Compares a tensor of ours, channels last, with one of the file. */
export function check(file: GoldenFile, key: string, value: Tensor, tolerance = values): void {
  const host = file.host(key);
  const ours = first(value);
  expectClose(ours.rank === 0 && host.shape.length === 1 ? tf.reshape(ours, [1]) : ours, host, tolerance, key);
}

/** Compares every gradient (or parameter) that the file holds below a prefix. @throws Error if there is none */
export function checkTree(file: GoldenFile, prefix: string, tree: Tree, tolerance = gradients): void {
  const ours = flattenTree(tree);
  for (const key of file.keys(prefix)) {
    const name = key.slice(prefix.length);
    if (ours[name] === undefined) throw new Error(`${file.name}: wanted a tensor of ours for '${key}', got none`);
    expectClose(ours[name], file.host(key), tolerance, key);
  }
}
