import { checkBatch, checkLike, checkNumber, dims, type Tensor, tf } from '@atelier/tensor';

/** ε̂ (and v) of a network with classes: x [B, …, C], times t [B], labels y [B] int32 -> [B, …, C] or [B, …, 2C]. */
export type LabelledPredictor = (x: Tensor, t: Tensor, y: Tensor) => Tensor;

export type GuidanceOptions = {
  /** w; 1 is the plain conditional network, 0 the unconditional one. */
  scale: number;
  /** Which channels of ε̂ are guided: 'all' of them, or only the first 3 (as in the released DiT, although its latents have 4). */
  channels: 3 | 'all';
  /** The label that stands for "no class": the number of classes. */
  nullLabel: number;
};

/**
 * Classifier-free guidance: a network whose ε̂ is ε̂_∅ + w·(ε̂_y - ε̂_∅), both from one evaluation on a doubled batch. Outputs that are not guided (v, and with
 * `channels: 3` also ε̂ after the third channel) are those for the labels y (facebookresearch/DiT models.py:250).
 *
 * With a scale of exactly 1 the network is returned as it is, and no batch is doubled.
 */
export function guidedNetwork(network: LabelledPredictor, options: GuidanceOptions): LabelledPredictor {
  const where = 'guidedNetwork';
  const { scale, channels, nullLabel } = options;
  checkNumber(`${where}: scale`, scale);
  checkNumber(`${where}: nullLabel`, nullLabel, { integer: true, min: 0 });
  if (channels !== 3 && channels !== 'all') throw new Error(`${where}: channels: wanted 3 or 'all', got ${String(channels)}`);
  if (scale === 1) return network;
  return (x, t, y) => {
    checkBatch(x, `${where}: x`);
    const B = x.shape[0]!;
    dims(t, 'B', `${where}: t`, { B });
    dims(y, 'B', `${where}: y`, { B });
    const C = x.shape.at(-1)!;
    if (channels === 3 && C < 3) throw new Error(`${where}: channels: wanted 'all' for an image of ${C} channels, got 3`);
    return tf.tidy(() => {
      const twice = (v: Tensor): Tensor => tf.concat([v, v], 0);
      const labels = tf.concat([y, tf.fill([B], nullLabel, 'int32')], 0);
      const [conditional, unconditional] = tf.split(network(twice(x), twice(t), labels), 2, 0);
      return guide(conditional!, unconditional!, { scale, channels: channels === 'all' ? C : 3 });
    });
  };
}

/**
 * The first `channels` channels of a guided output, unconditional + scale·(conditional - unconditional), followed by the other channels of `conditional`;
 * both [B, …, C'].
 */
export function guide(conditional: Tensor, unconditional: Tensor, { scale, channels }: { scale: number; channels: number }): Tensor {
  checkBatch(conditional, 'guide: conditional');
  checkLike(unconditional, conditional, 'guide: unconditional');
  checkNumber('guide: scale', scale);
  const [all, axis] = [conditional.shape.at(-1)!, conditional.rank - 1];
  checkNumber('guide: channels', channels, { integer: true, min: 1, max: all });
  return tf.tidy(() => {
    const mix = (y: Tensor, none: Tensor): Tensor => tf.add(none, tf.mul(tf.sub(y, none), scale));
    if (channels === all) return mix(conditional, unconditional);
    const parts = [channels, all - channels];
    const [guided, rest] = tf.split(conditional, parts, axis);
    return tf.concat([mix(guided!, tf.split(unconditional, parts, axis)[0]!), rest!], axis);
  });
}
