import { checkNumber, dims, type Tensor, tf } from '@atelier/tensor';
import { windowSide, type Grid } from './window.ts';

/** Moves tokens up and to the left by `shift`, around the edges of the grid: y[i, j] = x[(i + s) mod h, (j + s) mod w]; x [B, h·w, C]. */
export function rollTokens(x: Tensor, { h, w }: Grid, shift: number): Tensor {
  const { B, C } = dims<'B' | 'C'>(x, 'B T C', 'rollTokens: x', { T: h * w });
  checkNumber('rollTokens: shift', shift, { integer: true });
  const turned = [h, w].reduce((image, side, i) => rollAxis(image, 1 + i, side, shift), tf.reshape(x, [B, h, w, C]));
  return tf.reshape(turned, [B, h * w, C]);
}

function rollAxis(x: Tensor, axis: number, side: number, shift: number): Tensor {
  const first = ((shift % side) + side) % side;
  if (first === 0) return x;
  const [head, tail] = tf.split(x, [first, side - first], axis);
  return tf.concat([tail!, head!], axis);
}

/**
 * Mask of shifted windows, added to the logits: [n, M², M²] flattened, 0 where two tokens of a rolled window were neighbours before, else
 * `apart`: -100 as in Swin's code, where a logit 100 above the others still comes through, or -Infinity, where nothing does.
 *
 * Regions are the slices [0, -M), [-M, -s), [-s, end) of both axes after the roll (microsoft/Swin-Transformer swin_transformer.py:223).
 */
export function shiftMask({ h, w }: Grid, M: number, shift: number, apart = -100): Float32Array {
  const side = windowSide({ h, w }, M, 'shiftMask');
  checkNumber('shiftMask: shift', shift, { integer: true, min: 0, below: side });
  const part = (at: number, whole: number): number => (shift === 0 || at < whole - side ? 0 : at < whole - shift ? 1 : 2);
  const across = w / side;
  const n = side * side;
  const mask = new Float32Array((h / side) * across * n * n);
  const region = new Int32Array(n);
  for (let window = 0; window * n * n < mask.length; window++) {
    for (let k = 0; k < n; k++) {
      const i = Math.floor(window / across) * side + Math.floor(k / side);
      const j = (window % across) * side + (k % side);
      region[k] = 3 * part(i, h) + part(j, w);
    }
    for (let q = 0; q < n; q++) for (let k = 0; k < n; k++) if (region[q] !== region[k]) mask[(window * n + q) * n + k] = apart;
  }
  return mask;
}
