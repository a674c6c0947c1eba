import { initParameters } from '@atelier/nn';
import { dims, parseConfig, type Rng, type Tensor, tf } from '@atelier/tensor';
import { blockForward, type BlockParams } from './block.ts';
import { tarflowConfig, tarflowParameters, tokenSizes, type TarFlowConfig, type TarFlowSettings } from './config.ts';
import { patchify } from './patch.ts';

/** The trained parameters under their official names. */
export type TarFlowParams = { blocks: BlockParams[] };

/** A model: its parameters, and the variance of its prior [T, D], a buffer that is ones unless the volume is preserved. */
export type TarFlow = TarFlowParams & { var: Tensor };

/** A new model, initialised as in the official code. The caller owns it. */
export function initTarFlow(rng: Rng, settings: TarFlowSettings): TarFlow {
  const config = parseConfig(tarflowConfig, settings, 'initTarFlow');
  const { T, D } = tokenSizes(config);
  return { var: tf.ones([T, D]), ...(initParameters(rng, tarflowParameters(settings)) as TarFlowParams) };
}

export type Flow = {
  /** Noise [B, T, D]. */
  z: Tensor;
  /** log|det ∂z/∂x| / (T·D) of each image [B]. */
  logDet: Tensor;
  /** Output of every block [B, T, D] and its part of the log-determinant [B], from data to noise. */
  blocks: { z: Tensor; logDet: Tensor }[];
};

/**
 * From data to noise: images x [B, H, W, C] in [-1, 1] -> z = f_{K-1} ∘ … ∘ f_0 (patchify(x)).
 *
 * @param y labels [B] int32 in -1 … N-1, where -1 means no label; absent if no sample has a label. Their values are not read here, so that this can be
 * compiled. `checkLabelRange` checks them; the engine fails on labels of N or more
 */
export function tarflowForward(params: TarFlowParams, x: Tensor, settings: TarFlowSettings, y?: Tensor): Flow {
  const config = parseConfig(tarflowConfig, settings, 'tarflowForward');
  checkParams(params, config, 'tarflowForward');
  const [H, W] = config.imageSize;
  const { B } = dims<'B'>(x, 'B H W C', 'tarflowForward: x', { H, W, C: config.inChannels });
  checkLabels(y, B, config, 'tarflowForward');
  let z = patchify(x, config.patchSize);
  const blocks = params.blocks.map((block, k) => {
    const out = blockForward(block, k, z, config, y);
    z = out.z;
    return out;
  });
  return { z, logDet: blocks.map(({ logDet }) => logDet).reduce((a, b) => tf.add(a, b)), blocks };
}

/** Parameters have the blocks and classes of the settings. */
export function checkParams(params: TarFlowParams, config: TarFlowConfig, where: string): void {
  if (params.blocks.length !== config.blocks)
    throw new Error(`${where}: params: wanted ${config.blocks} blocks, got ${params.blocks.length}`);
  const classes = params.blocks[0]!.class_embed?.shape[0] ?? 0;
  if (classes !== config.numClasses) throw new Error(`${where}: params: wanted ${config.numClasses} classes, got ${classes}`);
}

/** As `checkParams`, and the prior's variance is [T, D]. */
export function checkModel(model: TarFlow, config: TarFlowConfig, where: string): void {
  checkParams(model, config, where);
  dims(model.var, 'T D', `${where}: var`, tokenSizes(config));
}

/** Throws unless labels fit the model: int32 [B], and no labels for a model without classes. `checkLabelRange` checks their values. */
export function checkLabels(y: Tensor | undefined, B: number, config: TarFlowConfig, where: string): void {
  if (y === undefined) return;
  if (config.numClasses === 0) throw new Error(`${where}: y: wanted no labels for a model without classes, got some`);
  dims(y, 'B', `${where}: y`, { B });
  if (y.dtype !== 'int32') throw new Error(`${where}: y: wanted int32 labels, got ${y.dtype}`);
}

/** Reads the values of the labels, so it cannot be called in compiled functions. */
export function checkLabelRange(y: Tensor | undefined, { numClasses }: TarFlowConfig, where: string): void {
  const wrong = y?.dataSync().find((label) => label < -1 || label >= numClasses);
  if (wrong !== undefined) throw new Error(`${where}: y: wanted labels from -1 (none) to ${numClasses - 1}, got ${wrong}`);
}
