import { hostGeluTanh, hostLinear, hostNorm, hostSelfAttention, hostSilu, hostTimeFeatures } from './host.ts';

export type HostWeights = Record<string, Float64Array>;
export type HostDiTSizes = {
  H: number;
  W: number;
  C: number;
  outC: number;
  P: number;
  D: number;
  K: number;
  depth: number;
  frequencySize: number;
};

/** The DiT of swin-dit and MeanFlow in float64: x [B, H, W, C] flat, times t and optionally h [B], labels y [B], weights by official name. */
export function hostDiT(
  w: HostWeights,
  x: Float64Array,
  inputs: { t: ArrayLike<number>; h?: ArrayLike<number>; y?: ArrayLike<number> },
  sizes: HostDiTSizes,
): Float64Array {
  const { H, W, C, outC, P, D, K, depth, frequencySize } = sizes;
  const B = inputs.t.length;
  const [gh, gw] = [H / P, W / P];
  const T = gh * gw;
  const layer = (name: string, v: Float64Array): Float64Array => hostLinear(v, w[`${name}.weight`]!, w[`${name}.bias`]!);
  const embedTime = (name: string, times: ArrayLike<number>): Float64Array => {
    const features = Float64Array.from(Array.from(times).flatMap((time) => hostTimeFeatures(time, frequencySize)));
    return layer(`${name}.mlp.2`, layer(`${name}.mlp.0`, features).map(hostSilu));
  };

  const c = embedTime('t_embedder', inputs.t);
  if (inputs.h !== undefined) embedTime('h_embedder', inputs.h).forEach((v, i) => (c[i]! += v));
  if (inputs.y !== undefined)
    for (let i = 0; i < B * D; i++) c[i]! += w['y_embedder.embedding_table.weight']![inputs.y[Math.floor(i / D)]! * D + (i % D)]!;
  const condition = c.map(hostSilu);

  // Patch convolution, written from its definition, plus positions.
  let tokens: Float64Array = new Float64Array(B * T * D);
  for (let b = 0; b < B; b++) {
    for (let i = 0; i < gh; i++) {
      for (let j = 0; j < gw; j++) {
        for (let o = 0; o < D; o++) {
          let sum = w['x_embedder.proj.bias']![o]!;
          for (let ch = 0; ch < C; ch++)
            for (let p = 0; p < P; p++)
              for (let q = 0; q < P; q++)
                sum += w['x_embedder.proj.weight']![((o * C + ch) * P + p) * P + q]! * x[((b * H + i * P + p) * W + j * P + q) * C + ch]!;
          tokens[((b * gh + i) * gw + j) * D + o] = sum + hostPosition(i, j, o, D);
        }
      }
    }
  }

  const modulate = (v: Float64Array, m: Float64Array, chunks: number, shift: number): Float64Array =>
    hostNorm(v, D, 1e-6, true).map((value, at) => {
      const row = Math.floor(at / (T * D)) * chunks * D + (at % D);
      return value * (1 + m[row + (shift + 1) * D]!) + m[row + shift * D]!;
    });
  const addGated = (v: Float64Array, update: Float64Array, m: Float64Array, gate: number): Float64Array =>
    v.map((value, at) => value + m[Math.floor(at / (T * D)) * 6 * D + gate * D + (at % D)]! * update[at]!);

  for (let l = 0; l < depth; l++) {
    const name = `blocks.${l}`;
    const m = layer(`${name}.adaLN_modulation.1`, condition);
    const attn = {
      qkvW: w[`${name}.attn.qkv.weight`]!,
      qkvB: w[`${name}.attn.qkv.bias`]!,
      projW: w[`${name}.attn.proj.weight`]!,
      projB: w[`${name}.attn.proj.bias`]!,
    };
    tokens = addGated(tokens, hostSelfAttention(modulate(tokens, m, 6, 0), attn, { B, T, D, K }), m, 2);
    tokens = addGated(tokens, layer(`${name}.mlp.fc2`, layer(`${name}.mlp.fc1`, modulate(tokens, m, 6, 3)).map(hostGeluTanh)), m, 5);
  }

  const z = layer('final_layer.linear', modulate(tokens, layer('final_layer.adaLN_modulation.1', condition), 2, 0));
  const out = new Float64Array(B * H * W * outC);
  for (let b = 0; b < B; b++)
    for (let i = 0; i < gh; i++)
      for (let j = 0; j < gw; j++)
        for (let p = 0; p < P; p++)
          for (let q = 0; q < P; q++)
            for (let ch = 0; ch < outC; ch++)
              out[((b * H + i * P + p) * W + j * P + q) * outC + ch] = z[((b * gh + i) * gw + j) * P * P * outC + (p * P + q) * outC + ch]!;
  return out;
}

/** Channel o of the position of row i, column j. */
function hostPosition(i: number, j: number, o: number, D: number): number {
  const quarter = D / 4;
  const angle = (o < D / 2 ? j : i) * 10000 ** (-(o % quarter) / quarter);
  return Math.floor(o / quarter) % 2 === 0 ? Math.sin(angle) : Math.cos(angle);
}
