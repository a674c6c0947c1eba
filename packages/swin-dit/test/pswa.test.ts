import { attention, linear, mergeHeads, multiHeadSelfAttention, queriesKeysValues, type SelfAttentionParams } from '@atelier/nn';
import { compile, flattenTree, jvp, Rng, tf, useEngine, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, expectGradients, tensorDirectionalDifference } from '@atelier/testkit';
import { beforeAll, describe, expect, it } from 'vitest';
import { bridge, pswa, pswaBranches, relativePositionIndex, type Grid, type PswaLayer, type PswaParams } from '../src/index.ts';
import { randomAttention } from './networks.ts';

beforeAll(async () => {
  await useEngine();
});

const D = 8;
const heads = 4;

/** Parameters and layer with `a` window heads on a grid; an odd kernel of 3. */
function layerOf(name: string, grid: Grid, M: number, a: number, shift = 0): { p: PswaParams; layer: PswaLayer } {
  const dit = { inChannels: 3, patchSize: 1, width: D, depth: 1, heads };
  const p = randomAttention(new Rng(name), { dit, grid: [grid.h, grid.w], window: M, kernel: 3, windowHeads: [a] });
  return { p, layer: { grid, heads, windowHeads: a, window: M, shift } };
}

const tokens = (name: string, B: number, { h, w }: Grid): Tensor => new Rng(name).child('u').normal([B, h * w, D]);

/** Attention over all tokens of the grid with a mask: two tokens see each other if their windows agree, after a shift also their sides of the edge. */
function densely(p: PswaParams, { grid: { h, w }, window: M, shift: s }: PswaLayer, u: Tensor): Tensor {
  const index = relativePositionIndex(M, M);
  const table = ('rel_pos_bias_table' in p ? p.rel_pos_bias_table : tf.zeros([0])).arraySync() as number[][];
  const place = (token: number) => {
    const [i, j] = [Math.floor(token / w), token % w];
    const [di, dj] = [(i - s + h) % h, (j - s + w) % w];
    const window = `${Math.floor(di / M)} ${Math.floor(dj / M)} ${i < s} ${j < s}`;
    return { window, local: (di % M) * M + (dj % M) };
  };
  const bias = Array.from({ length: heads }, (_, head) =>
    Array.from({ length: h * w }, (_, q) =>
      Array.from({ length: h * w }, (_, k) => {
        const [from, to] = [place(q), place(k)];
        return from.window === to.window ? table[index[from.local * M * M + to.local]!]![head]! : -1e9;
      }),
    ),
  );
  const { q, k, v } = queriesKeysValues(p, u, heads);
  return linear(p.proj, mergeHeads(attention(q, k, v, { mask: tf.tensor3d(bias) })));
}

describe('window heads', () => {
  it('invariant 2: one window over the grid and no bias is the attention of DiT', () => {
    const { p, layer } = layerOf('one window', { h: 4, w: 4 }, 4, heads);
    const u = tokens('one window', 2, layer.grid);
    const unbiased = { ...p, rel_pos_bias_table: tf.zeros([49, heads]) };
    expectClose(pswa(unbiased, layer)(u), multiHeadSelfAttention(p as SelfAttentionParams, u, heads), { max: 1e-5 });
  });

  it.each([
    { h: 4, w: 6, M: 2, s: 0 },
    { h: 6, w: 9, M: 3, s: 1 },
    { h: 8, w: 4, M: 4, s: 3 },
    { h: 8, w: 12, M: 4, s: 1 },
  ])('invariant 9: windows of $M shifted by $s on $h x $w are dense attention under a mask', ({ h, w, M, s }) => {
    const { p, layer } = layerOf('shifted', { h, w }, M, heads, s);
    const u = tokens('shifted', 2, layer.grid);
    expectClose(pswa(p, layer)(u), densely(p, layer, u), { max: 1e-5 });
  });

  it('invariant 7: stay between the least and the largest value of their window, and give back what is constant in it', () => {
    const [h, w, M] = [4, 6, 2];
    const { p, layer } = layerOf('maximum', { h, w }, M, 2);
    const u = tokens('maximum', 2, layer.grid);
    const windowChannels = D / 2;
    const values = tf.slice(linear(p.qkv, u), [0, 0, 2 * windowChannels], [2, h * w, windowChannels]).arraySync() as number[][][];
    const attended = pswaBranches(p, layer)(u).window!.arraySync() as number[][][];
    for (let b = 0; b < 2; b++)
      for (let t = 0; t < h * w; t++) {
        const [i, j] = [Math.floor(t / w), t % w];
        const mates = values[b]!.filter(
          (_, s) => Math.floor(s / w / M) === Math.floor(i / M) && Math.floor((s % w) / M) === Math.floor(j / M),
        );
        expect(mates).toHaveLength(M * M);
        for (let c = 0; c < windowChannels; c++) {
          const column = mates.map((row) => row[c]!);
          expect(attended[b]![t]![c]!).toBeGreaterThanOrEqual(Math.min(...column) - 1e-6);
          expect(attended[b]![t]![c]!).toBeLessThanOrEqual(Math.max(...column) + 1e-6);
        }
      }
    // Values that come only from the bias are constant.
    const weight = tf.concat([tf.slice(p.qkv.weight, [0, 0], [2 * windowChannels, D]), tf.zeros([D, D])], 0);
    const constant = pswaBranches({ ...p, qkv: { weight, bias: p.qkv.bias } }, layer)(u).window!;
    const bias = tf.slice(p.qkv.bias, [2 * windowChannels], [windowChannels]);
    expectClose(constant, tf.broadcastTo(bias, constant.shape), { max: 1e-6 });
  });

  it('invariant 8: permuting the tokens of a window permutes their output, unless there is a bias', () => {
    const [grid, M] = [{ h: 4, w: 6 }, 2];
    const { p, layer } = layerOf('permuted', grid, M, heads);
    const u = tokens('permuted', 2, grid);
    // The four tokens of the window in row 1 and column 2 of the windows.
    const [from, to] = [
      [16, 17, 22, 23],
      [23, 16, 22, 17],
    ];
    const order = Array.from({ length: 24 }, (_, t) => (from.includes(t) ? to[from.indexOf(t)]! : t));
    const permute = (x: Tensor): Tensor => tf.gather(x, tf.tensor1d(order, 'int32'), 1);
    const window = (params: PswaParams, x: Tensor): Tensor => pswaBranches(params, layer)(x).window!;
    const unbiased = { ...p, rel_pos_bias_table: tf.zeros([9, heads]) };
    expectClose(window(unbiased, permute(u)), permute(window(unbiased, u)), { max: 1e-5 });
    expect(() => expectClose(window(p, permute(u)), permute(window(p, u)), { max: 1e-2 })).toThrow();
  });
});

describe('bridging heads', () => {
  const grid = { h: 4, w: 5 };
  const kernel = (at: number[][], C: number): Tensor => tf.tile(tf.tensor4d([[at]]), [C, 1, 1, 1]);

  it('invariant 6: a 1 at the centre of the kernel returns the values bit for bit; a 1 elsewhere shifts them and fills with zeros', () => {
    const x = tokens('delta', 2, grid);
    const zero = tf.zeros([D]);
    expectClose(bridge({ weight: kernel([[0, 0, 0], [0, 1, 0], [0, 0, 0]], D), bias: zero }, x, grid), x); // prettier-ignore
    // A 1 at row 0, column 2 reads the token above and to the right.
    const moved = bridge({ weight: kernel([[0, 0, 1], [0, 0, 0], [0, 0, 0]], D), bias: zero }, x, grid); // prettier-ignore
    const image = tf.reshape(x, [2, 4, 5, D]);
    const wanted = tf.pad(tf.slice(image, [0, 0, 1, 0], [2, 3, 4, D]), [[0, 0], [1, 0], [0, 1], [0, 0]]); // prettier-ignore
    expectClose(moved, tf.reshape(wanted, [2, 20, D]));
  });

  it('invariant 7: leave the range of their values where the kernel is negative', () => {
    const step = tf.reshape(tf.tensor1d([0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1]), [1, 20, 1]);
    const sharpened = bridge({ weight: kernel([[0, 0, 0], [-1, 2, -1], [0, 0, 0]], 1), bias: tf.zeros([1]) }, step, grid); // prettier-ignore
    expect(Array.from(sharpened.dataSync()).slice(0, 5)).toEqual([0, -1, 1, 0, 1]);
  });

  it('is a cross-correlation in PyTorch’s layout, with its gradients', () => {
    const [B, C, K] = [2, 3, 5];
    const rng = new Rng('correlation');
    const [x, weight, bias] = [rng.normal([B, 20, C]), rng.normal([C, 1, K, K]), rng.normal([C])];
    const out = bridge({ weight, bias }, x, grid).arraySync() as number[][][];
    const [image, taps, offset] = [x.arraySync(), weight.arraySync(), bias.arraySync()] as [number[][][], number[][][][], number[]];
    for (const [t, c, b] of [
      [0, 0, 0],
      [7, 1, 1],
      [19, 2, 0],
      [12, 0, 1],
    ] as const) {
      let sum = offset[c]!;
      for (let u = 0; u < K; u++)
        for (let v = 0; v < K; v++) {
          const [i, j] = [Math.floor(t / 5) + u - 2, (t % 5) + v - 2];
          if (i >= 0 && i < 4 && j >= 0 && j < 5) sum += taps[c]![0]![u]![v]! * image[b]![i * 5 + j]![c]!;
        }
      expect(out[b]![t]![c]).toBeCloseTo(sum, 4);
    }
    const cotangent = rng.normals(B * 20 * C);
    expectGradients((a, w, o) => bridge({ weight: w!, bias: o! }, a!, grid), [x, weight, bias], { max: 1e-3, cotangent });
  });
});

describe('both', () => {
  it.each([0, 2])('gradients with %i window heads', (a) => {
    const grid = { h: 2, w: 4 };
    const { p, layer } = layerOf('gradients', grid, 2, a);
    const u = tokens('gradients', 2, grid);
    const leaves = flattenTree(p);
    const names = Object.keys(leaves);
    const rebuild = (values: readonly Tensor[]): PswaParams => {
      const at = Object.fromEntries(names.map((name, i) => [name, values[i]!]));
      const layerParams = (name: string) => ({ weight: at[`${name}.weight`]!, bias: at[`${name}.bias`]! });
      return {
        qkv: layerParams('qkv'),
        proj: layerParams('proj'),
        ...(a > 0 && { rel_pos_bias_table: at['rel_pos_bias_table']! }),
        ...(a < heads && { bridge: layerParams('bridge') }),
      };
    };
    const cotangent = new Rng('cotangent').normals(2 * 8 * D);
    const f = (x: Tensor, ...values: Tensor[]): Tensor => pswa(rebuild(values), layer)(x);
    expectGradients(f as (...xs: Tensor[]) => Tensor, [u, ...names.map((name) => leaves[name]!)], { max: 2e-3, abs: 2e-4, cotangent });
  });

  it('forward mode agrees with a difference', () => {
    const { p, layer } = layerOf('forward mode', { h: 4, w: 6 }, 2, 2);
    const [u, du] = [tokens('forward mode', 2, layer.grid), tokens('direction', 2, layer.grid)];
    const { tangent } = jvp((x) => pswa(p, layer)(x!), [u], [du]);
    expectClose(
      tangent,
      tensorDirectionalDifference((x) => pswa(p, layer)(x!), [u], [du]),
      { max: 2e-3 },
    );
  });

  it('is the same compiled, with its gradients', () => {
    const { p, layer } = layerOf('compiled', { h: 4, w: 6 }, 2, 2);
    const u = tokens('compiled', 2, layer.grid);
    const f = (params: PswaParams, x: Tensor) =>
      valueAndGrad((at: { params: PswaParams; x: Tensor }) => ({ loss: tf.sum(tf.square(pswa(at.params, layer)(at.x))), aux: {} }), {
        params,
        x,
      }).grads;
    const [eager, compiled] = [flattenTree(f(p, u)), flattenTree(compile(f)(p, u))];
    for (const [name, gradient] of Object.entries(eager)) expectClose(compiled[name]!, gradient, { max: 1e-5 }, name);
  });

  it('refuses parameters of another layer', () => {
    const { p, layer } = layerOf('refused', { h: 4, w: 6 }, 2, 2);
    expect(() => pswa(p, { ...layer, windowHeads: 3 })).toThrow('pswa: qkv.weight: wanted shape [rows=20, D=8], got [16, 8]');
    const { qkv, proj } = p;
    expect(() => pswa({ qkv, proj }, layer)).toThrow('pswa: params: wanted a rel_pos_bias_table for 2 window heads, got none');
    expect(() => pswa({ qkv, proj, rel_pos_bias_table: tf.zeros([9, 2]) }, layer)).toThrow(
      'pswa: params: wanted a bridge for 2 bridging heads, got none',
    );
    expect(() => pswa(p, { ...layer, heads: 3 })).toThrow('pswa: heads: wanted a divisor of the width 8, got 3');
    expect(() => pswa(p, { ...layer, windowHeads: 5 })).toThrow('pswa: windowHeads: wanted an integer at least 0 and at most 4, got 5');
    expect(() => pswa(p, { ...layer, window: 4 })).toThrow("wanted a common divisor of the grid's sides 4 and 6 (1, 2), got 4");
    expect(() => pswa(p, layer)(tokens('refused', 2, { h: 4, w: 5 }))).toThrow('pswa: u: wanted shape [B=2, T=24, D=8], got [2, 20, 8]');
    const weight = tf.zeros([4, 1, 4, 4]);
    expect(() => bridge({ weight, bias: tf.zeros([4]) }, tf.zeros([1, 24, 4]), layer.grid)).toThrow(
      'bridge: weight: wanted an odd side of the kernel, got 4',
    );
  });
});
