import { quantize, teacherInputs, tokenCount, type MvarBatch, type QuantizerConfig, type QuantizerParams } from '@atelier/mvar';
import { tf, type Rng, type Tensor } from '@atelier/tensor';

/**
 * Tokenized images as flat arrays on the host: token maps [n, N], inputs [n, N - 1, c], classes [n], and the latents [n, H, H, c] as the tokens
 * reconstruct them.
 */
export interface TokenSet {
  readonly count: number;
  readonly tokens: Int32Array;
  readonly inputs: Float32Array;
  readonly y: Int32Array;
  readonly latents: Float32Array;
  readonly coding: QuantizerConfig;
}

const BATCH = 256;

/** Tokenizes `count` images. `encode` gives the latents [to - from, H, H, c] of the images from … to - 1. */
export async function tokenSet(
  count: number,
  y: Int32Array,
  encode: (from: number, to: number) => Tensor,
  codes: QuantizerParams,
  coding: QuantizerConfig,
): Promise<TokenSet> {
  const N = tokenCount(coding.ladder);
  const { channels: c } = coding;
  const side = coding.ladder.at(-1)!;
  const set = {
    count,
    tokens: new Int32Array(count * N),
    inputs: new Float32Array(count * (N - 1) * c),
    y: y.slice(0, count),
    latents: new Float32Array(count * side * side * c),
    coding,
  };
  for (let from = 0; from < count; from += BATCH) {
    const to = Math.min(count, from + BATCH);
    const found = tf.tidy(() => {
      const { indices, reconstructions } = quantize(codes, encode(from, to), coding);
      return { tokens: tf.concat(indices, 1), inputs: teacherInputs(reconstructions, coding.ladder), latents: reconstructions.at(-1)! };
    });
    set.tokens.set((await found.tokens.data()) as Int32Array, from * N);
    set.inputs.set((await found.inputs.data()) as Float32Array, from * (N - 1) * c);
    set.latents.set((await found.latents.data()) as Float32Array, from * side * side * c);
    tf.dispose(found);
  }
  return set;
}

/** The images with the indices `rows` as a batch. The caller owns its tensors. */
export function batchOf({ tokens, inputs, y, coding }: TokenSet, rows: ArrayLike<number>): MvarBatch {
  const N = tokenCount(coding.ladder);
  const width = (N - 1) * coding.channels;
  const batch = { tokens: new Int32Array(rows.length * N), inputs: new Float32Array(rows.length * width), y: new Int32Array(rows.length) };
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!;
    batch.tokens.set(tokens.subarray(row * N, (row + 1) * N), i * N);
    batch.inputs.set(inputs.subarray(row * width, (row + 1) * width), i * width);
    batch.y[i] = y[row]!;
  }
  return {
    tokens: tf.tensor2d(batch.tokens, [rows.length, N], 'int32'),
    inputs: tf.tensor3d(batch.inputs, [rows.length, N - 1, coding.channels]),
    y: tf.tensor1d(batch.y, 'int32'),
  };
}

/** Draws `size` indices of a set of `count` images, with repetition. */
export const drawnRows = (rng: Rng, size: number, count: number): Int32Array => rng.integers(size, 0, count);
