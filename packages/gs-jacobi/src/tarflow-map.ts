import { conditioner, permute, tokenContext, type BlockParams, type KeyValues, type TarFlowConfig } from '@atelier/tarflow';
import { tf, type Tensor } from '@atelier/tensor';
import type { CausalMap } from './causal-map.ts';
import type { BlockMeans } from './mean-guess.ts';
import type { Guess } from './strategy.ts';

/** The inputs of token i of a block besides the tokens: Z_{i+1} [B, T, D], the context of position and class [1 or B, T, W], and guidance. */
export type BlockInputs = {
  noise: Tensor;
  context: Tensor;
  /** The context of the null class, and the weights of α and μ [1, T, 2]; absent without guidance. */
  guidance?: { context: Tensor; weights: Tensor };
};

/** Keys and values of the branch with labels, and with guidance also of the branch without labels. */
export type BlockCache = { labelled: KeyValues; null?: KeyValues };

export type TarFlowMap = CausalMap<BlockParams, BlockInputs, BlockCache>;

/**
 * The inverse of a block of a TarFlow as a causal map in the block's own order of tokens: Φ(X)_{i+1} = exp(α°_i)⊙Z_{i+1} + μ°_i, where α°_i and
 * μ°_i are made from X_0 … X_i. With guidance both branches read X, and α ← α_c + g(α_c - α_u), likewise μ.
 *
 * @param temperature τ of the attention in the branch without labels
 */
export function tarflowMap(config: TarFlowConfig, temperature = 1): TarFlowMap {
  return {
    pastAxis: 2,
    next({ params, x, inputs, past, seen }) {
      const at = { ...(seen && { seen }) };
      const { guidance } = inputs;
      const labelled = conditioner(params, x, config, { context: inputs.context, ...(past && { past: past.labelled }), ...at });
      const own: BlockCache = { labelled: { keys: labelled.keys, values: labelled.values } };
      let { alpha, mu } = labelled;
      if (guidance !== undefined) {
        const none = conditioner(params, x, config, {
          context: guidance.context,
          temperature,
          ...(past?.null && { past: past.null }),
          ...at,
        });
        own.null = { keys: none.keys, values: none.values };
        const [forAlpha, forMu] = tf.split(guidance.weights, 2, 2) as [Tensor, Tensor]; // [1, s, 2] -> two of [1, s, 1]
        alpha = tf.add(alpha, tf.mul(tf.sub(alpha, none.alpha), forAlpha));
        mu = tf.add(mu, tf.mul(tf.sub(mu, none.mu), forMu));
      }
      return { next: tf.add(tf.mul(tf.exp(alpha), inputs.noise), mu), own };
    },
  };
}

/** A block ready to be inverted, all in its own order of tokens. */
export type PreparedBlock = {
  /** z [B, T, D]. */
  z: Tensor;
  /** Where the iteration starts [B, T, D]. */
  guess: Tensor;
  inputs: BlockInputs;
};

/** The parts of a block that do not depend on the guess: its parameters, labels [B] if there are any, and with guidance its weights [T - 1, 2]. */
export type BlockSetting = { params: BlockParams; y?: Tensor; weights?: Tensor };

/**
 * Everything that the inversion of block k needs, from the output z [B, T, D] of the block that was inverted before (in image order). It depends only on
 * the parity of k. The guess `mean` needs the `means` of the block.
 */
export function prepareBlock(
  k: number,
  guess: Guess,
  { params, y, weights, z: before, means }: BlockSetting & { z: Tensor; means?: BlockMeans },
): PreparedBlock {
  const z = permute(before, k);
  const [B, T, D] = z.shape as [number, number, number];
  const later = tf.slice(z, [0, 1, 0], [B, T - 1, D]);
  const inputs: BlockInputs = { noise: tf.concat([later, tf.zeros([B, 1, D])], 1), context: tokenContext(params, k, y) };
  if (weights !== undefined) {
    const padded = tf.expandDims(tf.concat([weights, tf.zeros([1, 2])], 0), 0); // [T - 1, 2] -> [1, T, 2]
    inputs.guidance = { context: tokenContext(params, k), weights: padded as Tensor };
  }
  return { z, guess: startOf(guess, z, means), inputs };
}

function startOf(guess: Guess, z: Tensor, means: BlockMeans | undefined): Tensor {
  if (guess === 'z') return z;
  if (guess === 'zero') return firstTokenOnly(z);
  if (means === undefined) throw new Error("prepareBlock: guess: wanted means for the guess 'mean', got none");
  return tf.add(tf.mul(tf.exp(means.alpha), z), means.mu);
}

/** (z_0, 0, …, 0) of z [B, T, D]. */
export function firstTokenOnly(z: Tensor): Tensor {
  const [B, T, D] = z.shape as [number, number, number];
  return tf.concat([tf.slice(z, [0, 0, 0], [B, 1, D]), tf.zeros([B, T - 1, D])], 1);
}
