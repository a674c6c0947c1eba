import { applyDiT, ditConfig, ditDimensions, ditParameters, initDiT, loadParameters, type DiTConfig, type DiTParams } from '@atelier/nn';
import { parseConfig, type Rng, type Tensor } from '@atelier/tensor';
import { flaxNames, toFlax, type FlaxName } from './flax.ts';
import type { AverageVelocity } from './objective.ts';

/** The networks of the paper and S/2, which is only in its code; named by size and patch. */
const names = ['S/2', 'B/4', 'B/2', 'M/2', 'L/2', 'XL/2'] as const;
export type MeanFlowSize = (typeof names)[number];

/**
 * Settings of a published network: a DiT that takes t and h = t - r, both unscaled in [0, 1]. Each has its own embedder.
 *
 * Parameters with 1000 classes and 4 channels: B/4 131,165,248, B/2 131,091,472, M/2 308,019,216, L/2 459,137,040, XL/2 676,440,592.
 */
export function meanFlowDiTConfig(size: MeanFlowSize, data: { inChannels?: number; numClasses?: number } = {}): DiTConfig {
  const dimensions = ditDimensions(size, names, 'meanFlowDiTConfig');
  return parseConfig(
    ditConfig,
    { ...dimensions, inChannels: data.inChannels ?? 4, numClasses: data.numClasses ?? 1000, interval: true },
    'meanFlowDiTConfig',
  );
}

/** New parameters, initialised as in the official code: the output is exactly 0. The caller owns them. */
export function initMeanFlowDiT(rng: Rng, config: DiTConfig): DiTParams {
  return initDiT(rng, checkInterval(config, 'initMeanFlowDiT'));
}

/** The DiT as N_θ(z; t, h; y) on z [B, H, W, C]; y [B] int32 where the network has classes, `config.numClasses` being the null label. */
export function meanFlowDiT(params: DiTParams, config: DiTConfig): AverageVelocity {
  checkInterval(config, 'meanFlowDiT');
  return (z: Tensor, t: Tensor, h: Tensor, y?: Tensor) => applyDiT(params, z, { t, h, ...(y !== undefined && { y }) }, config);
}

/** Modules of the official Flax network between `net/` and the kernel or bias, by our path. `{l}` stands for the number of a block. */
const MODULES = {
  'x_embedder.proj': 'x_embedder/proj',
  't_embedder.mlp.0': 't_embedder/mlp/layers_0/_flax_linear',
  't_embedder.mlp.2': 't_embedder/mlp/layers_2/_flax_linear',
  'h_embedder.mlp.0': 'h_embedder/mlp/layers_0/_flax_linear',
  'h_embedder.mlp.2': 'h_embedder/mlp/layers_2/_flax_linear',
  'y_embedder.embedding_table': 'y_embedder/embedding_table/_flax_embedding',
  'blocks.{l}.attn.qkv': 'blocks/layers_{l}/attn/qkv/_flax_linear',
  'blocks.{l}.attn.proj': 'blocks/layers_{l}/attn/proj/_flax_linear',
  'blocks.{l}.mlp.fc1': 'blocks/layers_{l}/mlp/fc1/_flax_linear',
  'blocks.{l}.mlp.fc2': 'blocks/layers_{l}/mlp/fc2/_flax_linear',
  'blocks.{l}.adaLN_modulation.1': 'blocks/layers_{l}/adaLN_modulation/layers_1/_flax_linear',
  'final_layer.adaLN_modulation.1': 'final_layer/adaLN_modulation/layers_1/_flax_linear',
  'final_layer.linear': 'final_layer/linear/_flax_linear',
} as const satisfies Record<string, string>;

/** The rename table between our names and those of a checkpoint of the official JAX code (Gsunshine/meanflow), `net/…` below `params`. */
export function ditFlaxNames(config: DiTConfig): FlaxName[] {
  return Object.keys(ditParameters(checkInterval(config, 'ditFlaxNames'))).map((path) => {
    const parts = path.split('.');
    const kind = parts.pop()!;
    const block = parts[0] === 'blocks' ? parts[1]! : '';
    const module = (block === '' ? parts : ['blocks', '{l}', ...parts.slice(2)]).join('.');
    const flax = `net/${MODULES[module as keyof typeof MODULES].replace('{l}', block)}`;
    if (kind === 'bias') return { flax: `${flax}/bias`, path, layout: 'same' };
    if (module === 'y_embedder.embedding_table') return { flax: `${flax}/embedding`, path, layout: 'same' };
    return { flax: `${flax}/kernel`, path, layout: module === 'x_embedder.proj' ? 'flax-convolution' : 'flax-linear' };
  });
}

/** Parameters from the tensors of an official checkpoint (`params` or `ema_params`, names `net/…`). @throws Error that names every tensor that does not fit. */
export function ditFromFlax(tensors: Readonly<Record<string, Tensor>>, config: DiTConfig): DiTParams {
  return loadParameters(ditParameters(config), tensors, flaxNames(ditFlaxNames(config)), 'ditFromFlax') as DiTParams;
}

/** A tree of parameters (or of gradients or averages of the same shapes) under the names and in the layout of the official checkpoint. */
export function ditToFlax(params: DiTParams, config: DiTConfig): Record<string, Tensor> {
  return toFlax(ditFlaxNames(config), params, 'ditToFlax');
}

function checkInterval(config: DiTConfig, where: string): DiTConfig {
  if (config.interval !== true || config.learnSigma === true)
    throw new Error(
      `${where}: config: wanted interval: true and learnSigma: false, got interval: ${String(config.interval)} and learnSigma: ${String(config.learnSigma)}`,
    );
  return config;
}
