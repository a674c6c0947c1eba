import { adamW, clipByGlobalNorm, dropLabels, type AdamState } from '@atelier/nn';
import { checkNumber, parseConfig, dims, tf, valueAndGrad, type Rng, type Tensor, type Tree } from '@atelier/tensor';
import { mvarConfig, trainingGroups, type MvarConfig, type MvarSettings } from './config.ts';
import { scalesOf, tokenCount, type ScaleRange } from './ladder.ts';
import { mvarLoss } from './objective.ts';
import { rangeOf, type MvarParams } from './model.ts';

/**
 * Parameters and the state of the optimizer. That of `pos_start` (`start`) is separate from that of all `others`, because steps that do not train
 * scale 0 must not change it.
 */
export type MvarTrainingState = { params: MvarParams; adam: { others: AdamState; start: AdamState } };

export type MvarTrainingOptions = {
  /** Decoupled weight decay; 0.05 if not given. */
  weightDecay?: number;
  /** All gradients are scaled down if their common norm is above this; 2 if not given. */
  clip?: number;
};

/** A batch: the tokens of all scales, and the inputs from which the network predicts them. */
export type MvarBatch = {
  /** Token maps of all scales in one sequence [B, N] int32. */
  tokens: Tensor;
  /** `teacherInputs` [B, N - n_0, c]. */
  inputs: Tensor;
  /** Classes [B] int32 in 0 … Y. */
  y: Tensor;
  /** Where the label is replaced by "no class" [B] bool; nowhere if absent. */
  dropped?: Tensor;
  /** Factors of stochastic depth [2·D, B] (`drawDropPath`); no stochastic depth if absent. */
  keep?: Tensor;
};

/** The new state, the loss before the step, and the norm of the gradients before clipping, both scalars. */
export type MvarTrainingResult = { state: MvarTrainingState; loss: Tensor; norm: Tensor };

const BETAS = { b1: 0.9, b2: 0.95 } as const;

/**
 * Whether a parameter, given by its path, has weight decay: the matrices do. Biases, embeddings of positions and levels, attention factors and shared
 * AdaLN's offsets do not.
 */
export function decays(path: string): boolean {
  return !/(pos_1LC|pos_start|lvl_embed|scale_mul|ada_gss|bias$)/.test(path);
}

const optimizer = (weightDecay: number) => adamW({ ...BETAS, weightDecay, mask: decays });

/** The state before the first step. It takes over the parameters. */
export function initMvarTraining(params: MvarParams): MvarTrainingState {
  const { start, others } = apart(params);
  const adam = optimizer(0);
  return { params, adam: { others: adam.init(others), start: adam.init(start) } };
}

/**
 * One step of AdamW on clipped gradients. If scale 0 is not trained, `pos_start` has no gradient and is skipped, as in PyTorch: no update, no weight
 * decay, and its step count stays.
 *
 * @param trained the scales whose loss gave the gradients
 */
export function updateMvar(
  state: MvarTrainingState,
  grads: MvarParams,
  learningRate: Tensor,
  trained: ScaleRange,
  { weightDecay = 0.05, clip = 2 }: MvarTrainingOptions = {},
): { state: MvarTrainingState; norm: Tensor } {
  const adam = optimizer(weightDecay);
  const [old, raw] = [apart(state.params), apart(grads)];
  const whole = trained.first === 0; // `pos_start` is trained too
  const { grads: clipped, norm } = clipByGlobalNorm(whole ? raw : { others: raw.others }, clip) as unknown as {
    grads: ReturnType<typeof apart>;
    norm: Tensor;
  };
  const others = adam.update(clipped.others, state.adam.others, old.others, learningRate);
  const start = whole
    ? adam.update(clipped.start, state.adam.start, old.start, learningRate)
    : { params: old.start, state: state.adam.start };
  const params = { ...others.params, ...start.params } as unknown as MvarParams;
  return { state: { params: inOrder(params, state.params), adam: { others: others.state, start: start.state } }, norm };
}

/**
 * A training step on one range of scales, to be compiled. Mixed training makes one such step for each group and calls the one that `groupOfIteration`
 * names; VAR makes one for all scales. The learning rate is a scalar tensor.
 */
export function mvarTrainingStep(
  settings: MvarSettings,
  range: ScaleRange,
  options: MvarTrainingOptions = {},
): (state: MvarTrainingState, batch: MvarBatch, learningRate: Tensor) => MvarTrainingResult {
  return stepOn([range], settings, options, 'mvarTrainingStep');
}

/**
 * A training step on the sum of the losses of all groups ("concat" mode; arXiv 2505.12742, appendix D.5). It has the gradient of one pass over all
 * scales, in which no group sees another.
 */
export function mvarConcatStep(
  settings: MvarSettings,
  options: MvarTrainingOptions = {},
): (state: MvarTrainingState, batch: MvarBatch, learningRate: Tensor) => MvarTrainingResult {
  return stepOn(trainingGroups(parseConfig(mvarConfig, settings, 'mvarConcatStep')), settings, options, 'mvarConcatStep');
}

function stepOn(ranges: readonly ScaleRange[], settings: MvarSettings, options: MvarTrainingOptions, where: string) {
  const config = parseConfig(mvarConfig, settings, where);
  for (const range of ranges) rangeOf(range, config, where);
  const trained = { first: ranges[0]!.first, end: ranges.at(-1)!.end };
  return (state: MvarTrainingState, batch: MvarBatch, learningRate: Tensor): MvarTrainingResult => {
    const { loss, grads } = mvarGradients(state.params, batch, ranges, config);
    const { state: next, norm } = updateMvar(state, grads, learningRate, trained, options);
    return { state: next, loss, norm };
  };
}

/** The sum of the losses of some ranges and its gradients. Call inside `tf.tidy` or a compiled function. */
export function mvarGradients(
  params: MvarParams,
  batch: MvarBatch,
  ranges: readonly ScaleRange[],
  config: MvarConfig,
): { loss: Tensor; grads: MvarParams } {
  const { grads, loss } = valueAndGrad(
    (p: Tree) => ({ loss: batchLoss(p as unknown as MvarParams, batch, ranges, config), aux: {} }),
    params as unknown as Tree,
  );
  return { loss, grads: grads as unknown as MvarParams };
}

/** The sum of the losses of some ranges of scales, scalar. */
export function batchLoss(params: MvarParams, batch: MvarBatch, ranges: readonly ScaleRange[], config: MvarConfig): Tensor {
  const { B } = dims<'B'>(batch.tokens, 'B N', 'mvar training: tokens', { N: tokenCount(config.ladder) });
  dims(batch.y, 'B', 'mvar training: y', { B });
  const y = batch.dropped ? dropLabels(batch.y, batch.dropped, config.numClasses) : batch.y;
  const losses = ranges.map((range) => {
    const { x, targets } = cutBatch(batch, range, config);
    return mvarLoss(params, { y, ...(x && { x }), ...(batch.keep && { keep: batch.keep }) }, targets, range, config).loss;
  });
  return losses.reduce((a, b) => tf.add(a, b));
}

/** The part of a batch for a range of scales: inputs x [B, n, c] (absent if the range is only scale 0) and targets [B, n] int32. */
export function cutBatch(batch: MvarBatch, range: ScaleRange, config: MvarConfig): { x?: Tensor; targets: Tensor } {
  const scales = rangeOf(range, config, 'mvar training');
  const first = scalesOf(config.ladder)[0]!.tokens;
  const [begin, end] = [scales[0]!.offset, scales.at(-1)!.offset + scales.at(-1)!.tokens];
  const { B, c } = dims<'B' | 'c'>(batch.inputs, 'B n c', 'mvar training: inputs', { n: tokenCount(config.ladder) - first });
  const from = Math.max(0, begin - first);
  const targets = tf.slice(batch.tokens, [0, begin], [B, end - begin]);
  return end - first > from ? { x: tf.slice(batch.inputs, [0, from, 0], [B, end - first - from, c]), targets } : { targets };
}

/**
 * Factors of stochastic depth for the residual branches of one step, [2·D, B]: 0 with a probability of the block's rate, otherwise 1/(1 - rate). The rate rises
 * linearly from 0 in the first block to `dropPath` in the last. Null without stochastic depth.
 */
export function drawDropPath(rng: Rng, B: number, { depth, dropPath }: Pick<MvarConfig, 'depth' | 'dropPath'>): Tensor | null {
  checkNumber('drawDropPath: B', B, { integer: true, min: 1 });
  if (dropPath === 0) return null;
  const drawn = rng.uniforms(2 * depth * B);
  const rates = dropPathRates({ depth, dropPath });
  const keep = drawn.map((u, i) => {
    const rate = rates[Math.floor(i / (2 * B))]!;
    return u < rate ? 0 : 1 / (1 - rate);
  });
  return tf.tensor2d(keep, [2 * depth, B]);
}

/** The rate of stochastic depth of every block, in [0, dropPath]. */
export function dropPathRates({ depth, dropPath }: Pick<MvarConfig, 'depth' | 'dropPath'>): number[] {
  return Array.from({ length: depth }, (_, i) => (depth === 1 ? 0 : (dropPath * i) / (depth - 1)));
}

type Apart = { start: { pos_start: Tensor }; others: Record<string, Tree> };

function apart(params: MvarParams): Apart {
  const { pos_start, ...others } = params;
  return { start: { pos_start }, others: others as unknown as Record<string, Tree> };
}

/** Puts the keys in the order of `like`, so that the compiled step gets a tree of the same structure at every call. */
const inOrder = (params: MvarParams, like: MvarParams): MvarParams =>
  Object.fromEntries(Object.keys(like).map((key) => [key, params[key as keyof MvarParams]])) as MvarParams;
