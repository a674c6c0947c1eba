import { initParameters, linear, parameterCount, silu, type LinearParams, type ParameterTable } from '@atelier/nn';
import { parseConfig, tf, type Rng, type Tensor } from '@atelier/tensor';
import { z } from 'zod';
import type { Critic } from './adversarial.ts';
import type { SidNetwork } from './guidance.ts';

const count = z.number().int().min(1);

/** Settings of a residual network on points. */
export const pointNetworkConfig = z.strictObject({
  /** Coordinates of a point. */
  dims: count.default(2),
  width: count.default(128),
  /** Hidden layers, all but the first added to their input. */
  depth: count.default(3),
  /** Number of classes; 0 for none. The row behind the last class stands for "none". */
  classes: z.number().int().min(0).default(0),
  /** Sines and cosines of the time, half each. */
  features: z.number().int().min(2).multipleOf(2).default(16),
  /** What times are multiplied by, so that they lie between 0 and about 1: 1/1000 for discrete times. */
  timeScale: z.number().positive().default(1e-3),
});
export type PointNetworkConfig = z.output<typeof pointNetworkConfig>;

export type PointNetworkParams = { layers: LinearParams[]; out: LinearParams; classes?: { weight: Tensor } };

/** Settings with their defaults. @throws Error naming the setting that does not fit */
export function parsePointNetwork(settings: z.input<typeof pointNetworkConfig>): PointNetworkConfig {
  return parseConfig(pointNetworkConfig, settings, 'parsePointNetwork');
}

function tableOf({ dims, width, depth, classes, features }: PointNetworkConfig): ParameterTable {
  const table: ParameterTable = {};
  for (let l = 0; l < depth; l++) {
    const inputs = l === 0 ? dims + features : width;
    table[`layers.${l}.weight`] = { shape: [width, inputs], init: 'torch' };
    table[`layers.${l}.bias`] = { shape: [width], init: { uniform: 1 / Math.sqrt(inputs) } };
  }
  table['out.weight'] = { shape: [dims, width], init: 'torch' };
  table['out.bias'] = { shape: [dims], init: 'zeros' };
  if (classes > 0) table['classes.weight'] = { shape: [classes + 1, width], init: { normal: 0.3 } };
  return table;
}

/** New parameters. The caller owns them. */
export function initPointNetwork(rng: Rng, config: PointNetworkConfig): PointNetworkParams {
  return initParameters(rng, tableOf(config)) as PointNetworkParams;
}

export const pointNetworkSize = (config: PointNetworkConfig): number => parameterCount(tableOf(config));

/** Points [B, D], times [B] and classes [B] int32 -> [B, D]. */
export function pointNetwork(params: PointNetworkParams, config: PointNetworkConfig): SidNetwork {
  return (x, t, condition) => linear(params.out, hidden(params, config, x, t, condition));
}

/** Logits of the last hidden layer: its mean, [B, 1]. */
export function pointCritic(params: PointNetworkParams, config: PointNetworkConfig): Critic {
  return (x, t, condition) => tf.mean(hidden(params, config, x, t, condition), 1, true);
}

/** Last hidden layer [B, width]. */
function hidden(params: PointNetworkParams, { features, timeScale }: PointNetworkConfig, x: Tensor, t: Tensor, condition?: Tensor): Tensor {
  const B = x.shape[0]!;
  // Frequencies π/2·2^k: one quarter of a period over all times, up to 2^(features/2 - 1) quarters.
  const frequencies = tf.tensor(Array.from({ length: features / 2 }, (_, k) => (Math.PI / 2) * 2 ** k), [1, features / 2]); // prettier-ignore
  const angles = tf.mul(tf.reshape(tf.mul(t, timeScale), [B, 1]), frequencies);
  const [first, ...rest] = params.layers;
  let h = linear(first!, tf.concat([x, tf.sin(angles), tf.cos(angles)], 1)); // [B, D + features] -> [B, width]
  if (params.classes !== undefined) {
    const none = params.classes.weight.shape[0]! - 1;
    h = tf.add(h, tf.gather(params.classes.weight, condition ?? tf.fill([B], none, 'int32')));
  }
  h = silu(h);
  for (const layer of rest) h = tf.add(h, silu(linear(layer, h)));
  return h;
}
