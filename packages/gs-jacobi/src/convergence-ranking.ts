import { checkNumber, compile, parseConfig, type Tensor, tf } from '@atelier/tensor';
import { tarflowConfig, tokenSizes, type BlockParams, type TarFlow, type TarFlowSettings } from '@atelier/tarflow';
import { shiftedOutputs, throughBlocks } from './data-pass.ts';
import { matrixNorm, normKinds, type NormKind } from './matrix-norm.ts';
import { type OfficialGuess } from './strategy.ts';
import { firstTokenOnly } from './tarflow-map.ts';

/** The measures of a block, from one pass of images through the model. */
export type BlockMetrics = {
  /** Initial guessing metric ‖mean_b[exp(α(X⁰))⊙Z + μ(X⁰) - X]‖: the error after one Jacobi step from either guess. */
  igm: Record<OfficialGuess, number>;
  /** ‖mean_b[exp(-α(X))⊙X]‖. */
  scaledInput: number;
  /** ‖W_s‖ and ‖W_u‖, the halves of `proj_out.weight` that make α° and μ°. */
  scaleWeight: number;
  shiftWeight: number;
  /** Convergence ranking metric, scaledInput · scaleWeight + shiftWeight: how hard the block is for Jacobi iteration. */
  crm: number;
};

/**
 * CRM and IGM of every block k = 0 … K - 1, from one pass of n images x [n, H, W, C] to noise without labels
 * (encoreus/GS-Jacobi_for_TarFlow GS_Jacobi_sampling.py:204-235).
 *
 * The means over the images are inside the norms, so random errors cancel and the numbers fall with n. With fewer than some hundred images the ranking may
 * change; the official script takes 1000 clean training images.
 * @param options.norm spectral ('2', official), '1' or 'fro'
 * @param options.batch number of images that go through the model at a time
 */
export function convergenceMetrics(
  model: TarFlow,
  x: Tensor,
  settings: TarFlowSettings,
  options: { norm?: NormKind; batch?: number } = {},
): BlockMetrics[] {
  const where = 'convergenceMetrics';
  const config = parseConfig(tarflowConfig, settings, where);
  const { norm = '2', batch = 64 } = options;
  if (!normKinds.includes(norm)) throw new Error(`${where}: norm: wanted '2', '1' or 'fro', got '${String(norm)}'`);
  const { T, D } = tokenSizes(config);
  const { width: W, volumePreserving } = config;

  // Sums over the batch [T, D], whose norms are taken later, and the output of the block.
  const pass = compile(
    (p: BlockParams, input: Tensor, context: Tensor) => {
      const { alpha, mu } = shiftedOutputs(p, input, config, context);
      const z = tf.mul(tf.sub(input, mu), tf.exp(tf.neg(alpha)));
      const residual = (guess: Tensor): Tensor => {
        const at = shiftedOutputs(p, guess, config, context);
        return tf.sum(tf.sub(tf.add(tf.mul(tf.exp(at.alpha), z), at.mu), input), 0);
      };
      return { z, sums: { z: residual(z), zero: residual(firstTokenOnly(z)), scaled: tf.sum(tf.mul(tf.exp(tf.neg(alpha)), input), 0) } };
    },
    { name: 'convergence-metrics', idle: 'sleep' },
  );
  const zeros = (): Float64Array => new Float64Array(T * D);
  const means = model.blocks.map(() => ({ z: zeros(), zero: zeros(), scaled: zeros() }));
  throughBlocks(model, x, config, { batch, where }, ({ k, params, input, context, n }) => {
    const { z, sums } = pass(params, input, context);
    for (const name of ['z', 'zero', 'scaled'] as const) sums[name].dataSync().forEach((value, i) => (means[k]![name][i]! += value / n));
    return z;
  });
  pass.dispose();
  return model.blocks.map(({ proj_out }, k) => {
    const weight = proj_out.weight.dataSync();
    const half = (from: number): number => matrixNorm(weight.subarray(from * W, (from + D) * W), D, W, norm);
    const [scaleWeight, shiftWeight] = volumePreserving ? [0, half(0)] : [half(0), half(D)];
    const { z, zero, scaled } = means[k]!;
    const scaledInput = matrixNorm(scaled, T, D, norm);
    return {
      igm: { z: matrixNorm(z, T, D, norm), zero: matrixNorm(zero, T, D, norm) },
      scaledInput,
      scaleWeight,
      shiftWeight,
      crm: scaledInput * scaleWeight + shiftWeight,
    };
  });
}

/** CRM% of every block: its share of the sum, in per cent. */
export function crmShares(metrics: readonly BlockMetrics[]): number[] {
  const total = metrics.reduce((sum, { crm }) => sum + crm, 0);
  return metrics.map(({ crm }) => (total === 0 ? 100 / metrics.length : (100 * crm) / total));
}

/** The guess with the smaller IGM for every block, in the order of sampling. */
export function bestGuesses(metrics: readonly BlockMetrics[]): OfficialGuess[] {
  return metrics.map(({ igm }): OfficialGuess => (igm.zero < igm.z ? 'zero' : 'z')).reverse();
}

/**
 * The blocks to cut into segments: those with CRM% of at least `factor`·100/K. The paper gives no rule and no threshold fits all its
 * choices; 1.6 gives the same stacks as the paper, except block 7 of Img64cond.
 */
export function crmStack(metrics: readonly BlockMetrics[], factor = 1.6): number[] {
  checkNumber('crmStack: factor', factor, { above: 0 });
  return crmShares(metrics).flatMap((share, k) => (share >= (factor * 100) / metrics.length ? [k] : []));
}
