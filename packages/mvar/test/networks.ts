import { attention, linear, mergeHeads, embedClass } from '@atelier/nn';
import { Rng, tf, toTensor, treeMap, type Tensor, type Tree } from '@atelier/tensor';
import {
  embedTokens,
  headNorm,
  initMvar,
  modulations,
  mvarBlock,
  mvarConfig,
  projections,
  quantizerConfig,
  scalesOf,
  tokenCount,
  varSettings,
  type MvarConfig,
  type MvarInputs,
  type MvarParams,
  type QuantizerConfig,
  type QuantizerParams,
} from '../src/index.ts';
import { visiblePairs } from './visible.ts';

const network = {
  ladder: [1, 2, 3, 5, 6],
  width: 16,
  depth: 2,
  heads: 2,
  latentChannels: 3,
  codes: 11,
  numClasses: 3,
};
/** A small MVAR with two scales in windows of 3 × 3, and the VAR of the same network. */
export const markov: MvarConfig = mvarConfig.parse({ ...network, refineStep: 3, kernelSize: 3 });
export const causal: MvarConfig = mvarConfig.parse(varSettings(network));

/** The quantizer that belongs to them. */
export const coding: QuantizerConfig = quantizerConfig.parse({ ladder: network.ladder, codes: network.codes, channels: 3 });

/** Parameters of some size everywhere, so that nothing is near the identity or 0. */
export function drawnParams(config: MvarConfig, seed: string): MvarParams {
  const rng = new Rng(seed);
  const start = initMvar(rng.child('init'), config) as unknown as Tree;
  return treeMap(
    (leaf, path) => tf.tidy(() => tf.add(leaf, tf.mul(rng.child(path).normal(leaf.shape), path.includes('ada_') ? 0.3 : 0.2))),
    start,
  ) as unknown as MvarParams;
}

export function drawnQuantizer(config: QuantizerConfig, seed: string): QuantizerParams {
  const rng = new Rng(seed);
  const c = config.channels;
  const conv = (j: number) => ({
    weight: tf.tidy(() => tf.mul(rng.child(`weight ${j}`).normal([c, c, 3, 3]), 0.2)),
    bias: tf.tidy(() => tf.mul(rng.child(`bias ${j}`).normal([c]), 0.1)),
  });
  const embedding = { weight: rng.child('codes').normal([config.codes, c]) };
  return config.ratio === 0 ? { embedding } : { embedding, quant_resi: { qresi_ls: [0, 1, 2, 3].map(conv) } };
}

/** Classes and inputs of all scales for B samples. */
export function drawnInputs(config: MvarConfig, B: number, seed: string): MvarInputs & { x: Tensor } {
  const rng = new Rng(seed);
  const y = toTensor({ dtype: 'int32', shape: [B], data: rng.child('y').integers(B, 0, config.numClasses + 1) });
  return { y, x: rng.child('x').normal([B, tokenCount(config.ladder) - 1, config.latentChannels]) };
}

/** The part of inputs that a range of scales reads. */
export function inputsOf(inputs: MvarInputs & { x: Tensor }, first: number, end: number, config: MvarConfig): MvarInputs {
  const scales = scalesOf(config.ladder).slice(first, end);
  const begin = Math.max(0, scales[0]!.offset - 1);
  const stop = scales.at(-1)!.offset + scales.at(-1)!.tokens - 1;
  return stop === begin ? { y: inputs.y } : { y: inputs.y, x: tf.slice(inputs.x, [0, begin, 0], [-1, stop - begin, -1]) };
}

/** The network once more with all tokens in one sequence and a dense mask N × N: what must come out whatever is left out in the real one. */
export function maskedForward(params: MvarParams, inputs: MvarInputs & { x: Tensor }, config: MvarConfig): Tensor {
  const N = tokenCount(config.ladder);
  const mask = tf.tensor2d(Uint8Array.from(visiblePairs(config)), [N, N], 'bool');
  const cond = embedClass(params.class_emb, inputs.y);
  const tokens = embedTokens(params, cond, inputs.x, scalesOf(config.ladder));
  const out = modulations(params, cond, config).reduce((x, vectors, i) => {
    const { attn } = params.blocks[i]!;
    return mvarBlock(params.blocks[i]!, x, vectors, (u) => {
      const { q, k, v, scale } = projections(attn, u, config.heads);
      return linear(attn.proj, mergeHeads(attention(q, k, v, { scale, mask })));
    });
  }, tokens);
  return linear(params.head, headNorm(params.head_nm, out, cond));
}
