import { parseConfig, Rng, type Tensor, tf, treeMap } from '@atelier/tensor';
import { initTarFlow, tarflowConfig, tokenSizes, type TarFlow, type TarFlowConfig, type TarFlowSettings } from '../src/index.ts';

export type Tiny = {
  model: TarFlow;
  config: TarFlowConfig;
  /** Noise [B, T, D], images [B, H, W, C]. */
  noise: (B: number) => Tensor;
  images: (B: number) => Tensor;
};

/** A flow on 4 × 6 pixels of three channels whose blocks depend on their inputs, unlike those of a new one; `strength` 0: constant blocks. */
export function tiny(settings: Partial<TarFlowSettings> = {}, strength = 0.5): Tiny {
  const config = parseConfig(
    tarflowConfig,
    { imageSize: [4, 6], patchSize: 2, width: 16, headSize: 8, blocks: 3, layers: 2, numClasses: 3, ...settings },
    'tiny',
  );
  const rng = new Rng('tiny');
  const model = treeMap(
    (leaf, path) => {
      if (path.endsWith('proj_out.weight')) return tf.mul(rng.child(path).normal(leaf.shape), strength / 16);
      if (path.endsWith('proj_out.bias')) return tf.mul(rng.child(path).normal(leaf.shape), 0.2);
      if (path.endsWith('embed')) return tf.mul(rng.child(path).normal(leaf.shape), 0.5);
      return leaf;
    },
    initTarFlow(rng.child('start'), config),
  );
  const { T, D } = tokenSizes(config);
  const [H, W] = config.imageSize;
  return {
    model,
    config,
    noise: (B) => rng.child('noise').normal([B, T, D]),
    images: (B) => rng.child('images').normal([B, H, W, config.inChannels]),
  };
}

export const labels = (...y: number[]): Tensor => tf.tensor1d(y, 'int32');
export const row = (x: Tensor, b: number): Tensor => tf.slice(x, [b], [1]);
