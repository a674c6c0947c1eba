import { checkNumber, dims, type Rng, type Tensor, tf } from '@atelier/tensor';
import { initParameters, linear, silu, type LinearParams } from '@atelier/nn';
import type { AverageVelocity } from './objective.ts';

/** A network for points of a few dimensions: z, t and h are concatenated and go through hidden layers with SiLU. */
export type PointNetworkParams = { layers: LinearParams[] };

/** New parameters: `depth` hidden layers of `width` (3 of 128 in the two-dimensional experiments), weights uniform in ±1/√fan_in, biases 0. */
export function initPointNetwork(
  rng: Rng,
  { dimension, width = 128, depth = 3 }: { dimension: number; width?: number; depth?: number },
): PointNetworkParams {
  for (const [name, size] of Object.entries({ dimension, width, depth }))
    checkNumber(`initPointNetwork: ${name}`, size, { integer: true, min: 1 });
  const sizes = [dimension + 2, ...Array.from({ length: depth }, () => width), dimension];
  const table = Object.fromEntries(
    sizes
      .slice(1)
      .flatMap((out, i) => [
        [`layers.${i}.weight`, { shape: [out, sizes[i]!], init: 'torch' }] as const,
        [`layers.${i}.bias`, { shape: [out], init: 'zeros' }] as const,
      ]),
  );
  return initParameters(rng, table) as PointNetworkParams;
}

/** The network as N_θ(z; t, h) on points z [B, dimension]; it takes no labels. */
export function pointNetwork(params: PointNetworkParams): AverageVelocity {
  return (z: Tensor, t: Tensor, h: Tensor) => {
    const { B } = dims<'B'>(z, 'B D', 'pointNetwork: z');
    let a: Tensor = tf.concat([z, tf.reshape(t, [B, 1]), tf.reshape(h, [B, 1])], 1); // [B, D] -> [B, D + 2]
    params.layers.forEach((layer, i) => {
      a = linear(layer, i === 0 ? a : silu(a));
    });
    return a;
  };
}
