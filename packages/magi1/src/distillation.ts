import { checkLike, dims, parseConfig, stopGradient, tf, type Rng, type Tensor } from '@atelier/tensor';
import { magiConfig, type MagiSettings } from './config.ts';
import { guidanceFactors, guidanceScales, guidedVelocity, type GuidanceSettings } from './guidance.ts';
import type { MagiParams } from './model.ts';
import { noisyClips } from './objective.ts';
import { CLEAN_TIME, stepCode, warpTime } from './time-schedule.ts';
import { attendClips, clipNetwork } from './training.ts';

/**
 * The number of steps S of a chunk, in the order of training, which repeats: eight times the finest schedule, then 32, 16 and 8 (section 2.5 of arXiv
 * 2505.13211).
 */
export const DISTILLATION_CYCLE: readonly number[] = [64, 64, 64, 64, 64, 64, 64, 64, 32, 16, 8];

/** A network that is told the size of its step: z [B, F, H, W, C], t [B, M], code [B, M] (`stepCode`) -> velocity like z. */
export type ShortcutNetwork = (z: Tensor, t: Tensor, code: Tensor) => Tensor;

/** An Euler step z + dt·v, with its own dt for every chunk: z, v [B, F, H, W, C], dt [B, M] -> [B, F, H, W, C]. */
export function stepClips(z: Tensor, v: Tensor, dt: Tensor): Tensor {
  const { B, F } = dims<'B' | 'F'>(z, 'B F H W C', 'stepClips: z');
  checkLike(v, z, 'stepClips: v');
  const { M } = dims<'M'>(dt, 'B M', 'stepClips: dt', { B });
  return tf.add(z, tf.mul(tf.reshape(tf.tile(tf.reshape(dt, [B, M, 1]), [1, 1, F / M]), [B, F, 1, 1, 1]), v));
}

/**
 * The target of a long step: the one velocity that leads to the same place as two short steps of the network, (dt₁·v(z, t) + dt₂·v(z + dt₁·v(z, t), t
 * + dt₁)) / (dt₁ + dt₂) (Eq. 7, arXiv 2505.13211). All chunks of a clip make both steps together. No gradient flows through the target.
 *
 * @param times t, t + dt₁ and t + dt₁ + dt₂, each [B, M]; where all three are equal, a chunk does not move and its target is 0
 * @param code step code of the two short steps [B, M]
 */
export function shortcutTarget(network: ShortcutNetwork, z: Tensor, times: readonly [Tensor, Tensor, Tensor], code: Tensor): Tensor {
  const [t0, t1, t2] = times;
  const [dt1, dt2] = [tf.sub(t1, t0), tf.sub(t2, t1)];
  const v1 = network(z, t0, code);
  const middle = stepClips(z, v1, dt1);
  const end = stepClips(middle, network(middle, t1, code), dt2);
  const whole = tf.sub(t2, t0);
  const inverse = tf.where(tf.greater(whole, 0), tf.div(1, tf.maximum(whole, 1e-12)), 0);
  return stopGradient(stepClips(tf.zerosLike(z), tf.sub(end, z), inverse));
}

/** A batch of distillation. Where nothing else is said, shapes are [B, M]. */
export type DistillationBatch = {
  /** Clips, [B, F, H, W, C]. */
  x: Tensor;
  /** Noise, [B, F, H, W, C]. */
  e: Tensor;
  /** Text features [B, M, L, Y]. */
  features: Tensor;
  /** True for the real tokens of a text, [B, M, L] bool. */
  mask: Tensor;
  /** Times at the start, in the middle and at the end of the step that is learnt. The finest schedule does not use middle and end. */
  t0: Tensor;
  t1: Tensor;
  t2: Tensor;
  /** 1 for finished chunks, which are context and have no text. */
  clean: Tensor;
  /** 1 for chunks with a loss. */
  counted: Tensor;
  /** Factors of v_0, v_prev and v_full of the teacher, [3, B, M]. */
  factors: Tensor;
};

/**
 * Draws the state of clips in the pipelined sampler with `steps` steps: which chunk is the oldest active one, and the position inside the stage.
 * Chunks before it are clean; chunks after the window are pure noise without a loss. [B, M] each.
 */
export function drawDistillation(
  rng: Rng,
  { clips, chunks, window, steps }: { clips: number; chunks: number; window: number; steps: number },
  guidance: GuidanceSettings = {},
): Pick<DistillationBatch, 't0' | 't1' | 't2' | 'clean' | 'counted' | 'factors'> {
  if (steps % window !== 0) throw new Error(`drawDistillation: steps: wanted a multiple of the window ${window}, got ${steps}`);
  const perStage = steps / window;
  const begins = rng.child('begin').integers(clips, 0, chunks);
  const positions = rng.child('position').integers(clips, 0, perStage);
  const size = clips * chunks;
  const out = { t0: new Float32Array(size), t1: new Float32Array(size), t2: new Float32Array(size), clean: new Float32Array(size), counted: new Float32Array(size) }; // prettier-ignore
  const factors = new Float32Array(3 * size);
  for (let at = 0; at < size; at++) {
    const row = Math.floor(at / chunks);
    // In stages: window - 1 for the oldest active chunk, more for clean chunks, negative for chunks after the window.
    const age = window - 1 - ((at % chunks) - begins[row]!);
    if (age >= window) {
      for (const key of ['t0', 't1', 't2'] as const) out[key][at] = CLEAN_TIME;
      out.clean[at] = 1;
    } else if (age >= 0) {
      const step = age * perStage + positions[row]!;
      for (const [i, key] of (['t0', 't1', 't2'] as const).entries()) out[key][at] = warpTime((step + i / 2) / steps);
      out.counted[at] = 1;
    }
    guidanceFactors(guidanceScales(out.t0[at]!, guidance)).forEach((factor, i) => (factors[i * size + at] = factor));
  }
  const table = (values: Float32Array): Tensor => tf.tensor2d(values, [clips, chunks]);
  return {
    t0: table(out.t0),
    t1: table(out.t1),
    t2: table(out.t2),
    clean: table(out.clean),
    counted: table(out.counted),
    factors: tf.tensor3d(factors, [3, clips, chunks]),
  };
}

/**
 * The loss of shortcut distillation with a schedule of `steps` steps. In the schedule of `finest` steps, the target is the guided velocity of the
 * teacher (Eq. 9). In shorter ones it is two steps of half the size by the student itself (`shortcutTarget`). Chunks with a loss always have their
 * text.
 *
 * @param range how many chunks a chunk sees, including itself; 0 is all before it
 */
export function distillationLoss(
  student: MagiParams,
  teacher: MagiParams,
  batch: DistillationBatch,
  { steps, finest = 64, range = 0 }: { steps: number; finest?: number; range?: number },
  settings: MagiSettings,
): { loss: Tensor } {
  const config = parseConfig(magiConfig, settings, 'distillationLoss');
  const { B, M } = dims<'B' | 'M'>(batch.t0, 'B M', 'distillationLoss: t0', { B: batch.x.shape[0]! });
  const [attend, alone] = [range, 1].map((seen) => attendClips([{ rows: B, range: seen }], M));
  const z = noisyClips({ x: batch.x, e: batch.e, t: batch.t0 });
  const text = { features: batch.features, mask: batch.mask };
  const on = tf.onesLike(batch.t0);
  const network =
    (params: MagiParams): ShortcutNetwork =>
    (at, t, code) =>
      clipNetwork(params, { ...text, dropped: batch.clean, flag: on, code }, attend!, config)(at, t);
  const code = (of: number): Tensor => tf.fill([B, M], stepCode(of));
  const target =
    steps === finest ? teacherVelocity() : shortcutTarget(network(student), z, [batch.t0, batch.t1, batch.t2], code(2 * steps));
  const v = network(student)(z, batch.t0, code(steps));
  const perChunk = tf.mean(tf.reshape(tf.square(tf.sub(v, target)), [B, M, -1]), 2); // [B, F, H, W, C] -> [B, M]
  return { loss: tf.div(tf.sum(tf.mul(perChunk, batch.counted)), tf.maximum(tf.sum(batch.counted), 1)) };

  function teacherVelocity(): Tensor {
    const none = tf.onesLike(batch.t0);
    const full = clipNetwork(teacher, { ...text, dropped: batch.clean }, attend!, config)(z, batch.t0);
    const previous = clipNetwork(teacher, { ...text, dropped: none }, attend!, config)(z, batch.t0);
    const single = clipNetwork(teacher, { ...text, dropped: none }, alone!, config)(z, batch.t0);
    const chunks = (x: Tensor): Tensor => tf.reshape(x, [1, B * M, x.shape[1]! / M, ...x.shape.slice(2)]);
    const guided = guidedVelocity(
      { full: chunks(full), previous: chunks(previous), alone: chunks(single) },
      tf.reshape(batch.factors, [3, B * M]),
    );
    return stopGradient(tf.reshape(guided, z.shape));
  }
}
