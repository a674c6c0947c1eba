import { blockCausalSlices, sliceAttention } from '@atelier/nn';
import { dims, parseConfig, stopGradient, tf, type Rng, type Tensor } from '@atelier/tensor';
import { z } from 'zod';
import type { SelfAttention } from './block.ts';
import { magiConfig, type MagiConfig, type MagiSettings } from './config.ts';
import { magiForward, type MagiParams } from './model.ts';
import { chunkLoss, type ChunkBatch, type ChunkLoss, type ChunkNetwork } from './objective.ts';
import { dropText } from './text.ts';
import { drawChunkTimes, timeLaw } from './time-law.ts';

const share = z.number().min(0).max(1);

/** How clips are made into training examples. Proportions are ours: the paper does not publish them. */
export const trainingConfig = z.strictObject({
  law: timeLaw.prefault({ kind: 'window' }),
  /** How often a clip begins with clean chunks. The law `window` ignores this. */
  cleanProbability: share.default(0.5),
  /** How often the first frame of a clip without clean chunks is given: image to video. */
  firstFrameProbability: share.default(0.2),
  /** How often a clip has no text. */
  textDropout: share.default(0.1),
  /** Share of the batch in which every chunk sees only itself and has no text. This trains v_0 of guidance (Eq. 9). */
  aloneShare: share.default(0.15),
  /** KV ranges: how many chunks a chunk sees, including itself; 0 is all before it. The rest of the batch is divided equally among these ranges. */
  ranges: z.array(z.int().min(0)).min(1).default([0]),
  /** Whether no gradient flows through the keys and values of clean chunks. The authors report that this does harm. */
  detachClean: z.boolean().default(false),
  /** Whether chunks also see later chunks: the bidirectional baseline. */
  bidirectional: z.boolean().default(false),
});
export type TrainingConfig = z.output<typeof trainingConfig>;
export type TrainingSettings = z.input<typeof trainingConfig>;

/** A batch of training: clips with times, and the text of every chunk. */
export type TrainingBatch = ChunkBatch & {
  /** Text features [B, M, L, Y], and a mask [B, M, L] bool, true for real tokens. */
  features: Tensor;
  mask: Tensor;
  /** [B, M] float32: 1 where the null caption replaces the text. Clean chunks never have text. */
  dropped: Tensor;
};

/** Divides the clips of a batch into groups: `rows` clips whose chunks see `range` chunks. The first group is that of chunks that see only themselves. */
export function historyRows(batch: number, config: Pick<TrainingConfig, 'aloneShare' | 'ranges'>): { rows: number; range: number }[] {
  const alone = Math.round(batch * config.aloneShare);
  const ends = config.ranges.map((_, i) => alone + Math.round(((batch - alone) * (i + 1)) / config.ranges.length));
  const groups = [{ rows: alone, range: 1 }, ...config.ranges.map((range, i) => ({ rows: ends[i]! - (ends[i - 1] ?? alone), range }))];
  return groups.filter(({ rows }) => rows > 0);
}

/** Draws everything random of a batch but the clips and their text. The caller owns the tensors. */
export function drawTraining(
  rng: Rng,
  shape: readonly [B: number, F: number, H: number, W: number, C: number],
  chunks: number,
  settings: TrainingSettings = {},
): Pick<TrainingBatch, 'e' | 't' | 'clean' | 'counted' | 'given' | 'dropped'> & { given: Tensor } {
  const config = parseConfig(trainingConfig, settings, 'drawTraining');
  const [B, F] = shape;
  const times = drawChunkTimes(rng.child('times'), { clips: B, chunks, cleanProbability: config.cleanProbability }, config.law);
  const [first, text] = [rng.child('first frame').uniforms(B), rng.child('text').uniforms(B)];
  const given = new Float32Array(B * F);
  const dropped = Float32Array.from(times.clean);
  const alone = Math.round(B * config.aloneShare);
  for (let row = 0; row < B; row++) {
    if (times.clean[row * chunks] === 0 && first[row]! < config.firstFrameProbability) given[row * F] = 1;
    if (row < alone || text[row]! < config.textDropout) dropped.fill(1, row * chunks, (row + 1) * chunks);
  }
  const perChunk = (values: Float32Array): Tensor => tf.tensor2d(values, [B, chunks]);
  return {
    e: rng.child('noise').normal(shape),
    t: perChunk(times.t),
    clean: perChunk(times.clean),
    counted: perChunk(times.counted),
    given: tf.tensor2d(given, [B, F]),
    dropped: perChunk(dropped),
  };
}

/**
 * Self-attention of training: every clip attends on block-causal slices, with the range of its group (`historyRows`).
 *
 * @param clean [B, M] float32: 1 for chunks through whose keys and values no gradient flows; none if absent
 */
export function attendClips(
  groups: readonly { rows: number; range: number }[],
  chunks: number,
  { clean, bidirectional = false }: { clean?: Tensor; bidirectional?: boolean } = {},
): SelfAttention {
  return (q, k, v) => {
    const [B, , T] = q.shape as [number, number, number];
    const covered = groups.reduce((sum, { rows }) => sum + rows, 0);
    if (covered !== B) throw new Error(`attendClips: wanted groups of ${B} clips, got ${covered}`);
    const sizes = Array.from({ length: chunks }, () => T / chunks);
    const cut = (x: Tensor): Tensor => {
      if (clean === undefined) return x;
      const fixed = tf.reshape(tf.tile(tf.reshape(clean, [B, chunks, 1]), [1, 1, T / chunks]), [B, 1, T, 1]);
      return tf.add(tf.mul(fixed, stopGradient(x)), tf.mul(tf.sub(1, fixed), x));
    };
    const rows = groups.map((group) => group.rows);
    const parts = [q, cut(k), cut(v)].map((x) => (rows.length === 1 ? [x] : tf.split(x, rows, 0)));
    const outs = groups.map(({ range }, i) => {
      const full = [{ queries: [0, T], keys: [0, T], kind: 'full' }] as const;
      const causal = blockCausalSlices(sizes, range === 0 ? undefined : sizes.map(() => range));
      return sliceAttention(parts[0]![i]!, parts[1]![i]!, parts[2]![i]!, bidirectional && range !== 1 ? full : causal);
    });
    return outs.length === 1 ? outs[0]! : tf.concat(outs, 0);
  };
}

/**
 * The network on whole clips. `code` [B, M] is only for a distilled one. `flag` [B, M] is `textOn` of `magiForward`; if absent, it is 0 for chunks
 * without text and 1 for others.
 */
export function clipNetwork(
  params: MagiParams,
  batch: Pick<TrainingBatch, 'features' | 'mask' | 'dropped'> & { code?: Tensor; flag?: Tensor },
  attend: SelfAttention,
  config: MagiConfig,
): ChunkNetwork {
  const M = batch.dropped.shape[1]!;
  const text = dropText(params.y_embedder, batch, batch.dropped, config.nullTokens);
  return (x, t) =>
    magiForward(
      params,
      {
        x,
        t,
        texts: [{ chunks: M, ...text }],
        textOn: batch.flag ?? tf.sub(1, batch.dropped),
        ...(batch.code && { step: batch.code }),
      },
      attend,
      config,
    ).v;
}

/** The loss of block-causal training of the network (section 2.3 of arXiv 2505.13211): one pass over every clip, a time for every chunk. */
export function magiLoss(params: MagiParams, batch: TrainingBatch, settings: MagiSettings, training: TrainingSettings = {}): ChunkLoss {
  const config = parseConfig(magiConfig, settings, 'magiLoss');
  const options = parseConfig(trainingConfig, training, 'magiLoss');
  const { B, M } = dims<'B' | 'M'>(batch.t, 'B M', 'magiLoss: t', { B: batch.x.shape[0]! });
  dims(batch.dropped, 'B M', 'magiLoss: dropped', { B, M });
  const attend = attendClips(historyRows(B, options), M, {
    bidirectional: options.bidirectional,
    ...(options.detachClean && { clean: batch.clean }),
  });
  return chunkLoss(clipNetwork(params, batch, attend, config), batch);
}
