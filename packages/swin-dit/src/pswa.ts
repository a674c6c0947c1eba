import { checkNumber, dims, type Tensor, tf } from '@atelier/tensor';
import { linear, type LinearParams, type SelfAttentionParams } from '@atelier/nn';
import { bridge, type BridgeParams } from './bridge.ts';
import { relativePositionBias } from './relative-position.ts';
import { rollTokens, shiftMask } from './shift.ts';
import { attendInWindows, maskedBias } from './window-attention.ts';
import { mergeWindowHeads, splitWindowHeads, windowSide, type Grid } from './window.ts';

/**
 * Weights of pseudo shifted window attention with C_a channels of window heads and C_b of bridging heads, C_a + C_b = D: the rows of qkv
 * [2·C_a + D, D] are q and k of the window heads and then all values, window heads first. The table is there if there are window heads, the
 * convolution if there are bridging heads.
 */
export type PswaParams = SelfAttentionParams & ({ rel_pos_bias_table: Tensor } | object) & ({ bridge: BridgeParams } | object);

/** One layer: its grid, heads, window side M, and how far windows are shifted (0 in PSWA, whose bridge takes the shift's place). */
export type PswaLayer = { grid: Grid; heads: number; windowHeads: number; window: number; shift: number };

/** What the two kinds of heads give: O^a [B, T, C_a] and O^b [B, T, C_b], each where there are such heads. */
export type PswaBranches = { window?: Tensor; bridge?: Tensor };

/**
 * Pseudo shifted window attention (PSWA; our reading of arXiv 2505.13219, see the README) of u [B, h·w, D] -> [B, h·w, D]: window heads attend inside
 * windows, bridging heads convolve their values over the whole grid; concatenated on channels and projected.
 *
 * With every head a window head and one window it is the attention of DiT.
 */
export function pswa(p: PswaParams, layer: PswaLayer): (u: Tensor) => Tensor {
  const branches = pswaBranches(p, layer);
  return (u) => {
    const { window, bridge: bridged } = branches(u);
    const heads = window && bridged ? tf.concat([window, bridged], 2) : (window ?? bridged!);
    return linear(p.proj, heads);
  };
}

/** The heads of `pswa` before the output projection. What depends on the parameters alone is made once, however many pieces a batch is cut into. */
export function pswaBranches(p: PswaParams, layer: PswaLayer): (u: Tensor) => PswaBranches {
  const { grid, heads, windowHeads: a, window: M, shift } = layer;
  const { D } = dims<'D'>(p.proj.weight, 'D D', 'pswa: proj.weight');
  checkNumber('pswa: heads', heads, { integer: true, min: 1 });
  if (D % heads !== 0) throw new Error(`pswa: heads: wanted a divisor of the width ${D}, got ${heads}`);
  checkNumber('pswa: windowHeads', a, { integer: true, min: 0, max: heads });
  if (windowSide(grid, M, 'pswa') !== M) throw new Error(`pswa: window: wanted a side no larger than the grid's, got ${M}`);
  const Ca = (D / heads) * a;
  const Cb = D - Ca;
  dims(p.qkv.weight, 'rows D', 'pswa: qkv.weight', { rows: 2 * Ca + D, D });
  dims(p.qkv.bias, 'rows', 'pswa: qkv.bias', { rows: 2 * Ca + D });
  // Cutting the weight costs less than cutting the wide product. (The gradient that TensorFlow.js has for a split needs at least two parts.)
  const sizes = [Ca, Ca, Ca, Cb].filter((size) => size > 0);
  const cut = (x: Tensor): Tensor[] => (sizes.length === 1 ? [x] : tf.split(x, sizes, 0));
  const biases = cut(p.qkv.bias);
  const parts = cut(p.qkv.weight).map((weight, i): LinearParams => ({ weight, bias: biases[i]! }));
  const bias = a === 0 ? undefined : logitBias(p, layer);
  if (Cb > 0 && !('bridge' in p)) throw new Error(`pswa: params: wanted a bridge for ${heads - a} bridging heads, got none`);

  return (u) => {
    dims(u, 'B T D', 'pswa: u', { T: grid.h * grid.w, D });
    const out: PswaBranches = {};
    if (bias !== undefined) {
      const moved = rollTokens(u, grid, shift);
      const [Q, Km, V] = parts.slice(0, 3).map((part) => splitWindowHeads(linear(part, moved), grid, M, a)); // -> [B·n, a, M², d]
      out.window = rollTokens(mergeWindowHeads(attendInWindows(Q!, Km!, V!, bias), grid, M), grid, -shift);
    }
    if (Cb > 0 && 'bridge' in p) out.bridge = bridge(p.bridge, linear(parts.at(-1)!, u), grid);
    return out;
  };
}

function logitBias(p: PswaParams, { grid: { h, w }, windowHeads, window: M, shift }: PswaLayer): Tensor {
  if (!('rel_pos_bias_table' in p)) throw new Error(`pswa: params: wanted a rel_pos_bias_table for ${windowHeads} window heads, got none`);
  const bias = relativePositionBias(p.rel_pos_bias_table, M, M);
  return maskedBias(
    bias,
    shift === 0 ? undefined : tf.tensor3d(shiftMask({ h, w }, M, shift, -Infinity), [(h * w) / (M * M), M * M, M * M]),
  );
}
