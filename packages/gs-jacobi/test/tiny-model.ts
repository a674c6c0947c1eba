import { initTarFlow, sequentialSampler, tarflowConfig, tokenSizes, type TarFlow, type TarFlowConfig } from '@atelier/tarflow';
import { parseConfig, Rng, type Tensor, tf, treeMap } from '@atelier/tensor';

/** Six tokens by two of three channels; blocks whose outputs depend on their inputs, unlike those of a new model. */
export function tinyModel(options: { classes?: number; strength?: number; blocks?: number; imageSize?: [number, number] } = {}): {
  model: TarFlow;
  config: TarFlowConfig;
  noise: (B: number) => Tensor;
} {
  const { classes = 0, strength = 0.5, blocks = 3, imageSize = [4, 12] } = options;
  const config = parseConfig(
    tarflowConfig,
    { imageSize, patchSize: 2, width: 16, headSize: 8, blocks, layers: 2, numClasses: classes },
    'tinyModel',
  );
  const rng = new Rng('tiny model');
  const drawn = initTarFlow(rng.child('start'), config);
  const model = treeMap((leaf, path) => {
    if (path.endsWith('proj_out.weight')) return tf.mul(rng.child(path).normal(leaf.shape), strength / 16);
    if (path.endsWith('proj_out.bias')) return tf.mul(rng.child(path).normal(leaf.shape), 0.1);
    if (path.endsWith('embed')) return tf.mul(rng.child(path).normal(leaf.shape), 0.5);
    if (path === 'var') return tf.add(tf.mul(rng.child(path).uniform(leaf.shape), 0.5), 0.75);
    return leaf;
  }, drawn);
  const { T, D } = tokenSizes(config);
  return { model, config, noise: (B) => rng.child('noise').normal([B, T, D]) };
}

/** The sequential samples of tarflow itself. */
export function sequential(
  { model, config }: Pick<ReturnType<typeof tinyModel>, 'model' | 'config'>,
  noise: Tensor,
  options: Parameters<ReturnType<typeof sequentialSampler>['sample']>[2] = {},
): Tensor {
  const sampler = sequentialSampler(config);
  const { images } = sampler.sample(model, noise, options);
  sampler.dispose();
  return images;
}
