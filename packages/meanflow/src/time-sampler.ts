import { dims, parseConfig, type Rng, type Tensor, tf } from '@atelier/tensor';
import { timeFromDraw, type TimeDistribution } from '@atelier/diffusion';
import { timeSamplerConfig, type TimeSamplerConfig } from './config.ts';

/** Two times per row, 0 <= r <= t <= 1, both [B] float32. Time runs from data at 0 to noise at 1. Rows with r = t are exactly equal. */
export type Times = { t: Tensor; r: Tensor };

/**
 * The random numbers that times are made from, all [B] float32: `t` and `r` are standard normals for a logit-normal distribution and uniforms
 * in [0, 1) for a uniform one; `equal` are the uniforms in [0, 1) that decide which rows get r = t (absent for the prefix rule).
 */
export type TimeDraws = { t: Tensor; r: Tensor; equal?: Tensor };

/** The number of rows with r = t in a batch under the prefix rule: floor(batch · equalShare). */
export function equalPrefix(batch: number, equalShare: number): number {
  checkShare(equalShare, 'equalPrefix: equalShare');
  return Math.floor(batch * equalShare);
}

/**
 * Sampler A, of the official ImageNet code: t = max(a, b), r = min(a, b), then the **first** floor(B·equalShare) rows get r = t.
 *
 * The rule goes by position, so shuffle the batch. It is known in advance which rows have r < t, so the JVP can be computed only for them (`movingRows`).
 * @param draws normals or uniforms, see `TimeDraws`
 * @param options.equalShare share of rows with r = t in [0, 1] (`data_proportion` in the official code; 0.75 for ImageNet)
 */
export function prefixTimes(draws: TimeDraws, options: { t: TimeDistribution; r: TimeDistribution; equalShare: number }): Times {
  const { B } = checkDraws(draws, 'prefixTimes');
  const equal = equalPrefix(B, options.equalShare);
  return tf.tidy(() => {
    const { t, r } = orderedPair(draws, options);
    if (equal === 0) return { t, r };
    if (equal === B) return { t, r: tf.clone(t) };
    return { t, r: tf.concat([tf.slice(t, [0], [equal]), tf.slice(r, [equal], [B - equal])], 0) };
  });
}

/**
 * Sampler B, `v0` of the official PyTorch code and the paper's CIFAR-10 setting: t = max(a, b), r = min(a, b), then r := t where
 * q < 1 - movingShare, with one uniform q per row.
 *
 * @param draws normals or uniforms, and `equal`, the uniforms q
 * @param options.movingShare probability in [0, 1] of r < t (`ratio` in the official code; 0.75 for CIFAR-10)
 */
export function bernoulliTimes(draws: TimeDraws, options: { t: TimeDistribution; r: TimeDistribution; movingShare: number }): Times {
  const { B } = checkDraws(draws, 'bernoulliTimes');
  const equal = equalMask(draws, B, options.movingShare, 'bernoulliTimes');
  return tf.tidy(() => {
    const { t, r } = orderedPair(draws, options);
    return { t, r: tf.where(tf.less(equal.draw, equal.bound), t, r) };
  });
}

/**
 * Sampler C, `v1` of the official PyTorch code: t and r from separate distributions, first r := t where q < 1 - movingShare, then
 * r := min(t, r). A row whose drawn r is greater than t becomes a row with r = t. So the share of rows with r < t is movingShare·P(r' < t).
 *
 * @param draws normals or uniforms, and `equal`, the uniforms q
 * @param options.movingShare probability in [0, 1] of r != t before the minimum (`ratio` in the official code; 0.75)
 */
export function separateTimes(draws: TimeDraws, options: { t: TimeDistribution; r: TimeDistribution; movingShare: number }): Times {
  const { B } = checkDraws(draws, 'separateTimes');
  const equal = equalMask(draws, B, options.movingShare, 'separateTimes');
  return tf.tidy(() => {
    const t = timeFromDraw(draws.t, options.t);
    const r = tf.where(tf.less(equal.draw, equal.bound), t, timeFromDraw(draws.r, options.r));
    return { t, r: tf.minimum(t, r) };
  });
}

/** Times from given draws by the rule of `config`. A pure function, so a compiled step can contain it. */
export function timesFromDraws(draws: TimeDraws, config: TimeSamplerConfig): Times {
  const checked = parseConfig(timeSamplerConfig, config, 'timesFromDraws');
  if (checked.rule === 'prefix') return prefixTimes(draws, checked);
  return checked.rule === 'bernoulli' ? bernoulliTimes(draws, checked) : separateTimes(draws, checked);
}

/** Draws what `timesFromDraws` needs, in the order of the official code: for t, for r, then the uniforms that decide which rows get r = t. */
export function drawTimes(rng: Rng, batch: number, config: TimeSamplerConfig): TimeDraws {
  if (!Number.isInteger(batch) || batch < 1) throw new Error(`drawTimes: batch: wanted a whole number of at least 1, got ${batch}`);
  const draw = (distribution: TimeDistribution): Tensor => (distribution.kind === 'uniform' ? rng.uniform([batch]) : rng.normal([batch]));
  const t = draw(config.t);
  const r = draw(config.r);
  return config.rule === 'prefix' ? { t, r } : { t, r, equal: rng.uniform([batch]) };
}

/** `drawTimes` followed by `timesFromDraws`. */
export function sampleTimes(rng: Rng, batch: number, config: TimeSamplerConfig): Times {
  return tf.tidy(() => timesFromDraws(drawTimes(rng, batch, config), config));
}

/**
 * The rows [start, end) that may have r < t; every other row is certain to have r = t. Undefined if any row may have r < t. Give this to
 * `meanFlowLoss` as `movingRows`: it computes the JVP only for these rows, and the loss does not change.
 */
export function movingRows(config: TimeSamplerConfig, batch: number): readonly [start: number, end: number] | undefined {
  if (config.rule === 'prefix') return [equalPrefix(batch, config.equalShare), batch];
  return config.movingShare === 0 ? [batch, batch] : undefined;
}

function orderedPair(draws: TimeDraws, options: { t: TimeDistribution; r: TimeDistribution }): Times {
  const a = timeFromDraw(draws.t, options.t);
  const b = timeFromDraw(draws.r, options.r);
  return { t: tf.maximum(a, b), r: tf.minimum(a, b) };
}

function equalMask(draws: TimeDraws, batch: number, movingShare: number, where: string): { draw: Tensor; bound: number } {
  checkShare(movingShare, `${where}: movingShare`);
  if (draws.equal === undefined) throw new Error(`${where}: draws.equal: wanted uniforms [${batch}], got undefined`);
  dims(draws.equal, 'B', `${where}: draws.equal`, { B: batch });
  return { draw: draws.equal, bound: 1 - movingShare };
}

function checkDraws(draws: TimeDraws, where: string): { B: number } {
  const { B } = dims<'B'>(draws.t, 'B', `${where}: draws.t`);
  dims(draws.r, 'B', `${where}: draws.r`, { B });
  return { B };
}

function checkShare(share: number, where: string): void {
  if (!(share >= 0 && share <= 1)) throw new Error(`${where}: wanted a number in [0, 1], got ${share}`);
}
