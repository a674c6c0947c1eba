import { checkLike, checkOptions, checkPair, dims, jvp, perSample, stopGradient, tf, type Tensor } from '@atelier/tensor';
import { conditionalVelocity, interpolate, weightedError, type LossParts, type Velocity, type WeightConfig } from '@atelier/diffusion';

/**
 * The network N_θ(z; t, h; y): average velocity of the flow between the times t - h and t, through the point z at time t.
 *
 * z [B, …], t and h [B] with 0 <= h <= t <= 1 (noise at t = 1), y [B] labels or absent; returns [B, …]. Any TensorFlow.js function can be used.
 * It must treat samples independently (group and layer norms do, batch norm does not) and use the same dropout mask in every call.
 */
export type AverageVelocity = (z: Tensor, t: Tensor, h: Tensor, y?: Tensor) => Tensor;

/** The instantaneous velocity v(z, t) = N(z; t, 0) from a network that predicts the average velocity. */
export function instantaneousVelocity(network: AverageVelocity): Velocity {
  return (z, t, y) => network(z, t, tf.zerosLike(t), y);
}

/** Turns a network v(z, t) of the instantaneous velocity into an `AverageVelocity` that ignores h, for the losses and samplers of MeanFlow. */
export function fromVelocity(network: Velocity): AverageVelocity {
  return (z, t, _h, y) => network(z, t, y);
}

/** Turns a network of (t, r) into one of (t, h), h = t - r. The JVP passes through this change of variables, so it moves (t, r) along (1, 0) as it must. */
export function fromTimePair(network: (z: Tensor, t: Tensor, r: Tensor, y?: Tensor) => Tensor): AverageVelocity {
  return (z, t, h, y) => network(z, t, tf.sub(t, h), y);
}

/**
 * Direction of the total derivative in (z, r, t): ż = z·velocity, ṙ = r, ṫ = t. The MeanFlow identity needs (v, 0, 1). The other directions
 * (three from the paper's ablation, and (0, 0, 1)) are wrong; experiments use them to show that training then fails.
 */
export type TangentDirection = { readonly z: number; readonly r: number; readonly t: number };
export const correctTangent: TangentDirection = { z: 1, r: 0, t: 1 };
export const wrongTangents = {
  'v,0,0': { z: 1, r: 0, t: 0 },
  'v,1,0': { z: 1, r: 1, t: 0 },
  'v,1,1': { z: 1, r: 1, t: 1 },
  '0,0,1': { z: 0, r: 0, t: 1 },
} as const satisfies Record<string, TangentDirection>;

/**
 * One training batch. x [B, …] data, e [B, …] standard normal noise, t and r [B] with r <= t, y [B] labels.
 * `velocity` [B, …] is the velocity to regress on, for example a guided one (e - x if absent). `tangent` [B, …] is the velocity along which the
 * JVP moves z (`velocity` if absent).
 */
export type MeanFlowBatch = { x: Tensor; e: Tensor; t: Tensor; r: Tensor; y?: Tensor; velocity?: Tensor; tangent?: Tensor };

export type MeanFlowOptions = WeightConfig & {
  /**
   * The rows [start, end) that may have r < t; all other rows must have r = t exactly. If absent, every row may have r < t. For rows with r = t the
   * loss multiplies D by t - r = 0. D is therefore computed only for the rows given here; the loss does not change (`dudt` is 0 in the other rows).
   */
  movingRows?: readonly [start: number, end: number];
  /** Direction of the total derivative, `correctTangent` if absent. */
  direction?: TangentDirection;
};

export type MeanFlowLoss = LossParts & { dudt: Tensor };

/**
 * Total derivative D = (d/dt) u of a network along a direction, without gradient: the JVP at (z, t, h). With the direction (z, r, t) it moves along
 * (ż, ṫ, ḣ) = (z·tangent, t, t - r); the default is (v, 1, 1). With `movingRows`, D is computed only for those rows and is 0 in the others.
 *
 * @param network the function (z, t, h) of the rows [from, to) of the batch
 * @param at z and tangent [B, …], t and r [B]
 */
export function totalDerivative(
  network: (z: Tensor, t: Tensor, h: Tensor, from: number, to: number) => Tensor,
  at: { z: Tensor; t: Tensor; r: Tensor; tangent: Tensor },
  options: Pick<MeanFlowOptions, 'movingRows' | 'direction'> = {},
): Tensor {
  const where = 'totalDerivative';
  checkPair(at.z, at.tangent, where, ['z', 'tangent']);
  const batch = at.z.shape[0]!;
  for (const name of ['t', 'r'] as const) dims(at[name], 'B', `${where}: ${name}`, { B: batch });
  const [start, end] = checkRows(options.movingRows, batch, where);
  const direction = options.direction ?? correctTangent;
  if (start === end) return tf.zerosLike(at.z);
  return tf.tidy(() => {
    // On the tape of the caller z and h depend on t. They are cut from it here, because partial derivatives must not follow these paths.
    const point = [at.z, at.t, tf.sub(at.t, at.r)].map((x) => stopGradient(rows(x, start, end)));
    const along = (value: number): Tensor | null => (value === 0 ? null : tf.fill([end - start], value));
    const velocity = direction.z === 0 ? null : stopGradient(tf.mul(rows(at.tangent, start, end), direction.z));
    const f = (...[z, t, h]: Tensor[]): Tensor => network(z!, t!, h!, start, end);
    const { tangent } = jvp(f, point, [velocity, along(direction.t), along(direction.t - direction.r)]);
    const still = (count: number): Tensor[] => (count > 0 ? [tf.zeros([count, ...at.z.shape.slice(1)])] : []);
    return concatRows([...still(start), stopGradient(tangent), ...still(batch - end)]);
  });
}

/**
 * u with gradient, and its total derivative D without gradient.
 *
 * With `movingRows` the batch is split before the network runs. On a lazy engine u and D then share the forward pass of the moving rows.
 */
export function averageVelocityAndDerivative(
  network: AverageVelocity,
  at: { z: Tensor; t: Tensor; r: Tensor; y?: Tensor; tangent: Tensor },
  options: Pick<MeanFlowOptions, 'movingRows' | 'direction'> = {},
): { u: Tensor; dudt: Tensor } {
  const where = 'averageVelocityAndDerivative';
  checkPair(at.z, at.tangent, where, ['z', 'tangent']);
  const batch = at.z.shape[0]!;
  for (const name of ['t', 'r'] as const) dims(at[name], 'B', `${where}: ${name}`, { B: batch });
  const [start, end] = checkRows(options.movingRows, batch, where);
  const labels = (from: number, to: number): Tensor | undefined => at.y && rows(at.y, from, to);
  return tf.tidy(() => {
    const h = tf.sub(at.t, at.r);
    const forward = (from: number, to: number): Tensor => {
      const z = rows(at.z, from, to);
      const u = network(z, rows(at.t, from, to), rows(h, from, to), labels(from, to));
      checkLike(u, z, `${where}: output of the network`);
      return u;
    };
    const pieces = [
      [0, start],
      [start, end],
      [end, batch],
    ] as const;
    return {
      u: concatRows(pieces.filter(([from, to]) => from < to).map(([from, to]) => forward(from, to))),
      dudt: totalDerivative((z, t, hi, from, to) => network(z, t, hi, labels(from, to)), at, options),
    };
  });
}

/**
 * The MeanFlow loss (arXiv 2505.13447; the same in Gsunshine/meanflow meanflow.py:231 and Gsunshine/py-meanflow models/meanflow.py:60): with z = (1 - t)·x + t·e, v = e - x and u = N_θ(z; t, t - r),
 * target = stopgrad(v - (t - r)·D), D = JVP of N_θ at (z, t, h) along (v, 1, 1), loss = (1/B)·Σ_i w_i·Σ (u - target)².
 *
 * Call inside `tf.tidy`, `valueAndGrad`, `tf.variableGrads` or a compiled step. The caller owns the returned tensors.
 * @param options `p` and `c` of the adaptive weight 1/(S + c)^p must be given; `{ p: 0, c: 0 }` is the plain squared error
 * @throws Error if shapes do not agree, the network returns another shape than z, p or c is negative, or an option is missing or unknown
 */
export function meanFlowLoss(network: AverageVelocity, batch: MeanFlowBatch, options: MeanFlowOptions): MeanFlowLoss {
  checkBatch(batch, 'meanFlowLoss');
  return tf.tidy(() => {
    const { x, e, t, r, y, tangent } = batch;
    const [z, velocity] = [interpolate(x, e, t), batch.velocity ?? conditionalVelocity(x, e)];
    return meanFlowLossAt(network, { z, velocity, t, r, ...(y && { y }), ...(tangent && { tangent }) }, options);
  });
}

/**
 * The same loss at given points z [B, …] of the path. `velocity` [B, …] is the velocity to regress on at these points, `tangent` [B, …] the velocity
 * along which the JVP moves z (`velocity` if absent).
 */
export function meanFlowLossAt(
  network: AverageVelocity,
  at: { z: Tensor; velocity: Tensor; t: Tensor; r: Tensor; y?: Tensor; tangent?: Tensor },
  options: MeanFlowOptions,
): MeanFlowLoss {
  checkOptions('meanFlowLoss', options, ['p', 'c', 'movingRows', 'direction']);
  return tf.tidy(() => {
    const { z, t, r, y } = at;
    const velocity = stopGradient(at.velocity);
    const { u, dudt } = averageVelocityAndDerivative(network, { z, t, r, ...(y && { y }), tangent: at.tangent ?? velocity }, options);
    const target = stopGradient(tf.sub(velocity, tf.mul(perSample(tf.sub(t, r), z), dudt)));
    return { ...weightedError(u, target, options), z, velocity, u, dudt, target };
  });
}

/** Means of a per-sample value [B] over the rows with r = t and over the rows with r < t, and the numbers of these rows. The mean of no rows is NaN. */
export function splitByTimes(
  perRow: Tensor,
  times: { t: Tensor; r: Tensor },
): { equal: Tensor; moving: Tensor; equalRows: Tensor; movingRows: Tensor } {
  const { B } = dims<'B'>(perRow, 'B', 'splitByTimes: perRow');
  dims(times.t, 'B', 'splitByTimes: t', { B });
  dims(times.r, 'B', 'splitByTimes: r', { B });
  return tf.tidy(() => {
    const isMoving = tf.cast(tf.less(times.r, times.t), 'float32');
    const isEqual = tf.sub(1, isMoving);
    const [movingRows, equalRows] = [tf.sum(isMoving), tf.sum(isEqual)];
    const mean = (mask: Tensor, count: Tensor): Tensor => tf.div(tf.sum(tf.mul(mask, perRow)), count);
    return { equal: mean(isEqual, equalRows), moving: mean(isMoving, movingRows), equalRows, movingRows };
  });
}

function checkBatch(batch: MeanFlowBatch, where: string): void {
  checkPair(batch.x, batch.e, where, ['x', 'e']);
  const B = batch.x.shape[0]!;
  dims(batch.t, 'B', `${where}: t`, { B });
  dims(batch.r, 'B', `${where}: r`, { B });
  if (batch.velocity !== undefined) checkLike(batch.velocity, batch.x, `${where}: velocity`);
  if (batch.tangent !== undefined) checkLike(batch.tangent, batch.x, `${where}: tangent`);
  if (batch.y !== undefined) dims(batch.y, 'B', `${where}: y`, { B });
}

function checkRows(movingRows: MeanFlowOptions['movingRows'], batch: number, where: string): readonly [start: number, end: number] {
  const [start, end] = movingRows ?? [0, batch];
  if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || end > batch || start > end)
    throw new Error(`${where}: movingRows: wanted whole numbers 0 <= start <= end <= ${batch}, got [${start}, ${end}]`);
  return [start, end];
}

/** Rows [from, to) of a batch. If these are all of its rows it returns the batch itself, so that equal calls stay one node of a lazy graph. */
function rows(x: Tensor, from: number, to: number): Tensor {
  if (from === 0 && to === x.shape[0]) return x;
  return tf.slice(x, [from, ...x.shape.slice(1).map(() => 0)], [to - from, ...x.shape.slice(1)]);
}

const concatRows = (pieces: Tensor[]): Tensor => (pieces.length === 1 ? pieces[0]! : tf.concat(pieces, 0));
