/** The layers in float64 on flat arrays, written a second time from the equations, with loops. They share no code with the package. */

/** x [n, in], w [out, in], b [out] -> [n, out]. */
export function hostLinear(x: Float64Array, w: Float64Array, b: Float64Array): Float64Array {
  const out = b.length;
  const width = w.length / out;
  const n = x.length / width;
  const y = new Float64Array(n * out);
  for (let i = 0; i < n; i++) {
    for (let o = 0; o < out; o++) {
      let sum = b[o]!;
      for (let k = 0; k < width; k++) sum += x[i * width + k]! * w[o * width + k]!;
      y[i * out + o] = sum;
    }
  }
  return y;
}

/** Over rows of `width`; `centered` false is the root-mean-square norm. */
export function hostNorm(x: Float64Array, width: number, eps: number, centered: boolean): Float64Array {
  const y = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += width) {
    let mean = 0;
    for (let k = 0; k < width; k++) mean += centered ? x[row + k]! / width : 0;
    let variance = 0;
    for (let k = 0; k < width; k++) variance += (x[row + k]! - mean) ** 2 / width;
    for (let k = 0; k < width; k++) y[row + k] = (x[row + k]! - mean) / Math.sqrt(variance + eps);
  }
  return y;
}

export function hostSoftmax(x: Float64Array, width: number): Float64Array {
  const y = new Float64Array(x.length);
  for (let row = 0; row < x.length; row += width) {
    const values = Array.from(x.subarray(row, row + width));
    const top = Math.max(...values);
    const total = values.reduce((sum, v) => sum + Math.exp(v - top), 0);
    values.forEach((v, k) => (y[row + k] = Math.exp(v - top) / total));
  }
  return y;
}

export const hostSilu = (v: number): number => v / (1 + Math.exp(-v));
export const hostGeluTanh = (v: number): number => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
export const hostGeluErf = (v: number): number => 0.5 * v * (1 + hostErf(v / Math.SQRT2));

/** erf: its Taylor series near 0, and the continued fraction of erfc for larger values. */
function hostErf(x: number): number {
  if (Math.abs(x) > 2.5) {
    let fraction = 0;
    for (let n = 80; n > 0; n--) fraction = n / 2 / (Math.abs(x) + fraction);
    return Math.sign(x) * (1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (Math.abs(x) + fraction));
  }
  let term = x;
  let sum = x;
  for (let n = 1; n < 60; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

export type Sizes = { B: number; K: number; T: number; S: number; d: number; e: number };

/** q [B, K, T, d], k [B, K, S, d], v [B, K, S, e], bias of the logits by index -> [B, K, T, e]. */
export function hostAttention(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  { B, K, T, S, d, e }: Sizes,
  scale: number,
  bias: (b: number, head: number, t: number, s: number) => number = () => 0,
): Float64Array {
  const out = new Float64Array(B * K * T * e);
  for (let b = 0; b < B; b++) {
    for (let head = 0; head < K; head++) {
      const at = b * K + head;
      for (let t = 0; t < T; t++) {
        const logits = new Float64Array(S);
        for (let s = 0; s < S; s++) {
          let dot = 0;
          for (let i = 0; i < d; i++) dot += q[(at * T + t) * d + i]! * k[(at * S + s) * d + i]!;
          logits[s] = scale * dot + bias(b, head, t, s);
        }
        const p = hostSoftmax(logits, S);
        for (let s = 0; s < S; s++) for (let i = 0; i < e; i++) out[(at * T + t) * e + i]! += p[s]! * v[(at * S + s) * e + i]!;
      }
    }
  }
  return out;
}

/** Self-attention of x [B, T, D] with fused weights [3D, D], [D, D]. */
export function hostSelfAttention(
  x: Float64Array,
  p: { qkvW: Float64Array; qkvB: Float64Array; projW: Float64Array; projB: Float64Array },
  { B, T, D, K }: { B: number; T: number; D: number; K: number },
): Float64Array {
  const qkv = hostLinear(x, p.qkvW, p.qkvB);
  const d = D / K;
  const part = (which: number): Float64Array => {
    const out = new Float64Array(B * T * D);
    for (let b = 0; b < B; b++)
      for (let t = 0; t < T; t++)
        for (let i = 0; i < D; i++) out[((b * K + Math.floor(i / d)) * T + t) * d + (i % d)] = qkv[(b * T + t) * 3 * D + which * D + i]!;
    return out;
  };
  const mixed = hostAttention(part(0), part(1), part(2), { B, K, T, S: T, d, e: d }, d ** -0.5);
  const merged = new Float64Array(B * T * D);
  for (let b = 0; b < B; b++)
    for (let t = 0; t < T; t++)
      for (let i = 0; i < D; i++) merged[(b * T + t) * D + i] = mixed[((b * K + Math.floor(i / d)) * T + t) * d + (i % d)]!;
  return hostLinear(merged, p.projW, p.projB);
}

/** Frequency features of one time, cosines first. */
export function hostTimeFeatures(t: number, dim: number, maxPeriod = 10000): number[] {
  const half = Math.floor(dim / 2);
  const angles = Array.from({ length: half }, (_, k) => t * Math.exp((-Math.log(maxPeriod) * k) / half));
  return [...angles.map(Math.cos), ...angles.map(Math.sin), ...(dim % 2 === 1 ? [0] : [])];
}
