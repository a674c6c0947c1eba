import { linear, silu, type LinearParams } from '@atelier/nn';
import { dims, tf, type Tensor } from '@atelier/tensor';

/** The text embedder: the table of the null caption [rows, Y], and linear layers from text features to tokens [D, Y] and to the condition [D/4, Y]. */
export type TextParams = { null_caption_embedding: Tensor; y_proj_xattn: { 0: LinearParams }; y_proj_adaln: { 0: LinearParams } };

/** The text of some neighbouring chunks of a call. */
export type TextGroup = {
  /** How many chunks. */
  chunks: number;
  /** Text features: [B, chunks, L, Y], a text for each chunk; or [1, 1, L, Y], one text for all chunks and samples. */
  features: Tensor;
  /** True for real tokens, false for padding: bool [B, chunks, L] or [1, 1, L]; all are real if absent. */
  mask?: Tensor;
};

/** The null caption, which stands for "no text": the first `tokens` rows of its table, [1, 1, tokens, Y]. */
export function nullText(p: TextParams, tokens: number): Tensor {
  const { Y } = dims<'Y'>(p.null_caption_embedding, 'rows Y', 'nullText: null_caption_embedding');
  return tf.reshape(tf.slice(p.null_caption_embedding, [0, 0], [tokens, Y]), [1, 1, tokens, Y]);
}

/**
 * Replaces the texts of some chunks by the null caption: features [B, n, L, Y] and mask [B, n, L] of n chunks -> the same shapes. L must be at least
 * the number of null tokens. The null caption is read from the parameters, so it gets a gradient.
 *
 * @param dropped [B, n] float32, 1 where the text is replaced
 * @param tokens number of null tokens
 */
export function dropText(
  p: TextParams,
  { features, mask }: { features: Tensor; mask: Tensor },
  dropped: Tensor,
  tokens: number,
): { features: Tensor; mask: Tensor } {
  const { B, n, L } = dims<'B' | 'n' | 'L'>(features, 'B n L Y', 'dropText: features');
  dims(mask, 'B n L', 'dropText: mask', { B, n, L });
  dims(dropped, 'B n', 'dropText: dropped', { B, n });
  if (tokens > L) throw new Error(`dropText: features: wanted at least ${tokens} tokens, those of the null caption, got ${L}`);
  const table = tf.pad(nullText(p, tokens), [[0, 0], [0, 0], [0, L - tokens], [0, 0]]); // prettier-ignore
  const gone = tf.reshape(dropped, [B, n, 1, 1]);
  const nullMask = tf.tensor3d(Array.from({ length: L }, (_, i) => Number(i < tokens)), [1, 1, L]); // prettier-ignore
  const goneToken = tf.reshape(dropped, [B, n, 1]);
  const kept = tf.add(tf.mul(goneToken, nullMask), tf.mul(tf.sub(1, goneToken), tf.cast(mask, 'float32')));
  return {
    features: tf.add(tf.mul(gone, table), tf.mul(tf.sub(1, gone), features)),
    mask: tf.greater(kept, 0.5),
  };
}

/** Text features as the layers attend to them: SiLU of a linear layer, [B, m, L, Y] -> [B, m, L, D]. */
export const embedText = (p: TextParams, features: Tensor): Tensor => silu(linear(p.y_proj_xattn[0], features));

/**
 * The part of a chunk's condition that says "with text" or "without text": one of two learned vectors, the same for all texts. on [B, M] -> [B, M, D/4].
 *
 * @param on float32, 1 for "with text", 0 for "without"
 */
export function textCondition(p: TextParams, on: Tensor): Tensor {
  const { B, M } = dims<'B' | 'M'>(on, 'B M', 'textCondition: on');
  const [rows, Y] = p.null_caption_embedding.shape as [number, number];
  const both = linear(p.y_proj_adaln[0], tf.slice(p.null_caption_embedding, [rows - 2, 0], [2, Y])); // -> [2, D/4]
  const [withText, without] = tf.split(both, 2, 0) as [Tensor, Tensor];
  const flag = tf.reshape(on, [B, M, 1]);
  return tf.add(tf.mul(flag, withText), tf.mul(tf.sub(1, flag), without)); // [B, M, 1] · [1, D/4] -> [B, M, D/4]
}
