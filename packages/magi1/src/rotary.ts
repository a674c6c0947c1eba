import { checkNumber, dims, tf, type Tensor } from '@atelier/tensor';

/** Cosines and sines of the angles of all T tokens, [T, 3·nb]: nb angles for the frame, nb for the row, nb for the column. */
export type Rotation = { cos: Tensor; sin: Tensor };

/** The bands (frequencies) that a new network starts with, [nb]: 10000^(-b/nb), b = 0 … nb-1, nb = headDim/8. */
export function initialBands(headDim: number): Tensor {
  const count = headDim / 8;
  return tf.tensor1d(Array.from({ length: count }, (_, b) => 10000 ** (-b / count)));
}

/**
 * Angles position·band of all tokens, in radians. Tokens are ordered by frame, then row, then column. The position of a frame is its index in the
 * whole video. Row r = 0 … h-1 has the position (r - (h-1)/2)·(h/R - 1)/(h-1) with R = √(h·w/256), columns likewise. So neighbours have a distance of
 * 1 in a frame of 16 × 16 tokens, and a smaller one in larger grids.
 *
 * @param bands trained frequencies [nb]
 * @param frames index of every frame [F] float32
 * @param grid rows h and columns w of tokens in a frame, each at least 2
 */
export function rotation(bands: Tensor, frames: Tensor, { h, w }: { h: number; w: number }): Rotation {
  const { nb } = dims<'nb'>(bands, 'nb', 'rotation: bands');
  const { F } = dims<'F'>(frames, 'F', 'rotation: frames');
  checkNumber('rotation: rows of tokens', h, { integer: true, min: 2 });
  checkNumber('rotation: columns of tokens', w, { integer: true, min: 2 });
  const R = Math.sqrt((h * w) / 256);
  const along = (at: number, size: number): number => ((at - (size - 1) / 2) * (size / R - 1)) / (size - 1);
  const places = Array.from({ length: h * w }, (_, i) => [along(Math.floor(i / w), h), along(i % w, w)]);
  const spread = tf.ones([F, h * w, 1]);
  const ofFrame = tf.mul(tf.mul(tf.reshape(frames, [F, 1, 1]), spread), bands); // -> [F, h·w, nb]
  const ofPlace = tf.mul(tf.tensor(places.flat(), [h * w, 2, 1]), bands); // -> [h·w, 2, nb]
  const inFrames = tf.mul(tf.reshape(ofPlace, [1, h * w, 2 * nb]), spread); // -> [F, h·w, 2·nb]
  const angles = tf.reshape(tf.concat([ofFrame, inFrames], 2), [F * h * w, 3 * nb]);
  return { cos: tf.cos(angles), sin: tf.sin(angles) };
}

/**
 * Rotates queries or keys x [B, K, T, hd], K heads: channel a is paired with channel a + 3·nb, for a < 3·nb. The last quarter of the channels is not
 * rotated.
 */
export function rotateTokens(x: Tensor, { cos, sin }: Rotation): Tensor {
  const { T, half } = dims<'T' | 'half'>(cos, 'T half', 'rotateTokens: cos');
  const { hd } = dims<'hd'>(x, 'B K T hd', 'rotateTokens: x', { T });
  const [a, b, rest] = tf.split(x, [half, half, hd - 2 * half], 3) as [Tensor, Tensor, Tensor];
  return tf.concat([tf.sub(tf.mul(a, cos), tf.mul(b, sin)), tf.add(tf.mul(b, cos), tf.mul(a, sin)), rest], 3);
}
