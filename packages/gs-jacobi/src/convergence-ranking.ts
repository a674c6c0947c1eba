import { checkNumber, parseConfig } from '@atelier/nn';
import {
  checkModel,
  conditioner,
  patchify,
  permute,
  shiftByOne,
  tarflowConfig,
  tokenContext,
  tokenSizes,
  type BlockParams,
  type TarFlow,
  type TarFlowSettings,
} from '@atelier/tarflow';
import { compile, dims, tf, type Tensor } from '@atelier/tensor';
import { guessKinds, type Guess } from './strategy.ts';
import { matrixNorm, normKinds, type NormKind } from './matrix-norm.ts';

/** What one pass of images tells of a block. */
export type BlockMetrics = {
  /** Initial guessing metric ‖mean_b[exp(α(X⁰))⊙Z + μ(X⁰) - X]‖: the error after one Jacobi step from either guess. */
  igm: Record<Guess, number>;
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
 * Means over the images are taken inside the norms, so random errors cancel, the numbers fall with n and rankings may change below some
 * hundred images; the official script takes 1000 clean training images.
 * @param options.norm spectral ('2', official), '1' or 'fro'
 * @param options.batch images that go through the model at a time
 */
export function convergenceMetrics(
  params: TarFlow,
  x: Tensor,
  settings: TarFlowSettings,
  options: { norm?: NormKind; batch?: number } = {},
): BlockMetrics[] {
  const where = 'convergenceMetrics';
  const config = parseConfig(tarflowConfig, settings, where);
  const { norm = '2', batch = 64 } = options;
  if (!normKinds.includes(norm)) throw new Error(`${where}: norm: wanted '2', '1' or 'fro', got '${String(norm)}'`);
  checkNumber(`${where}: batch`, batch, { integer: true, min: 1 });
  checkModel(params, config, where);
  const [H, W] = config.imageSize;
  const { n } = dims<'n'>(x, 'n H W C', `${where}: x`, { H, W, C: config.inChannels });
  if (n === 0) throw new Error(`${where}: x: wanted at least one image, got none`);
  const { T, D } = tokenSizes(config);

  // Sums over the batch [T, D] of what the norms are taken of, and the block's output in its own order.
  const pass = compile(
    (p: BlockParams, input: Tensor, context: Tensor) => {
      const shifted = (at: Tensor): { alpha: Tensor; mu: Tensor } => {
        const raw = conditioner(p, at, config, { context });
        return { alpha: shiftByOne(raw.alpha), mu: shiftByOne(raw.mu) };
      };
      const { alpha, mu } = shifted(input);
      const z = tf.mul(tf.sub(input, mu), tf.exp(tf.neg(alpha)));
      const first = tf.slice(z, [0, 0, 0], [z.shape[0]!, 1, D]);
      const zero = tf.concat([first, tf.zeros([z.shape[0]!, T - 1, D])], 1);
      const residual = (guess: Tensor): Tensor => {
        const at = shifted(guess);
        return tf.sum(tf.sub(tf.add(tf.mul(tf.exp(at.alpha), z), at.mu), input), 0);
      };
      return { z, scaled: tf.sum(tf.mul(tf.exp(tf.neg(alpha)), input), 0), residuals: { z: residual(z), zero: residual(zero) } };
    },
    { name: 'convergence-metrics' },
  );
  const sums = params.blocks.map(() => ({ z: new Float64Array(T * D), zero: new Float64Array(T * D), scaled: new Float64Array(T * D) }));
  const add = (to: Float64Array, values: Tensor): void => {
    values.dataSync().forEach((value, i) => (to[i]! += value / n));
  };
  for (let at = 0; at < n; at += batch) {
    const rows = Math.min(batch, n - at);
    let z = tf.tidy(() => patchify(tf.slice(x, [at, 0, 0, 0], [rows, -1, -1, -1]), config.patchSize));
    params.blocks.forEach((p, k) => {
      z = tf.tidy(() => {
        const out = pass(p, permute(z, k), tokenContext(p, k));
        add(sums[k]!.scaled, out.scaled);
        for (const guess of guessKinds) add(sums[k]![guess], out.residuals[guess]);
        return permute(out.z, k);
      });
    });
    z.dispose();
  }
  pass.dispose();
  return params.blocks.map(({ proj_out }, k) => {
    const weight = proj_out.weight.dataSync();
    const rows = config.volumePreserving ? [0, 0] : [0, D];
    const half = (from: number): number =>
      matrixNorm(weight.subarray(from * config.width, (from + D) * config.width), D, config.width, norm);
    const [scaleWeight, shiftWeight] = [config.volumePreserving ? 0 : half(rows[0]!), half(rows[1]!)];
    const { z, zero, scaled } = sums[k]!;
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
export function bestGuesses(metrics: readonly BlockMetrics[]): Guess[] {
  return metrics.map(({ igm }): Guess => (igm.zero < igm.z ? 'zero' : 'z')).reverse();
}

/**
 * The blocks to cut into segments: those with CRM% of at least `factor`·100/K. The paper gives no rule and no threshold fits all its
 * choices; 1.6 gives its stacks except block 7 of Img64cond.
 */
export function crmStack(metrics: readonly BlockMetrics[], factor = 1.6): number[] {
  checkNumber('crmStack: factor', factor, { above: 0 });
  return crmShares(metrics).flatMap((share, k) => (share >= (factor * 100) / metrics.length ? [k] : []));
}
