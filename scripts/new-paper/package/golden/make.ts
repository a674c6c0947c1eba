// Writes denoiser.safetensors beside this file: `node --import tsx --conditions=@atelier/source packages/__SLUG__/golden/make.ts`.
// The numbers of a paper come from its official code, in whatever language that is. This toy has none, so they are derived here a second time, in
// float64 and element by element, with no function of the package.
import { fileURLToPath } from 'node:url';
import { Rng } from '@atelier/tensor';
import { writeSafetensors } from '@atelier/tensor/node';

const [B, D, sigmas] = [5, 2, [0.1, 0.5, 2]];
const K = sigmas.length;
const rng = new Rng('golden');
const draw = (name: string, count: number): number[] => [...rng.child(name).normals(count)];
const [weight, bias, x, e] = [draw('weight', K * D * D), draw('bias', K * D), draw('x', B * D), draw('e', B * D)];
const levels = [0, 1, 2, 2, 0];

/** Coordinate j of the denoised point z at a level. */
const denoised = (z: number[], level: number, j: number): number =>
  z.reduce((sum, value, i) => sum + value * weight[level * D * D + i * D + j]!, bias[level * D + j]!);

const gradients = { weight: new Array<number>(K * D * D).fill(0), bias: new Array<number>(K * D).fill(0) };
const out: number[] = [];
let loss = 0;
levels.forEach((level, b) => {
  const z = Array.from({ length: D }, (_, i) => x[b * D + i]! + sigmas[level]! * e[b * D + i]!);
  for (let j = 0; j < D; j++) {
    const value = denoised(z, level, j);
    const error = value - x[b * D + j]!;
    out.push(value);
    loss += error ** 2 / (B * D);
    gradients.bias[level * D + j]! += (2 * error) / (B * D);
    for (let i = 0; i < D; i++) gradients.weight[level * D * D + i * D + j]! += (2 * error * z[i]!) / (B * D);
  }
});

const samples: number[] = [];
for (let b = 0; b < B; b++) {
  let point = Array.from({ length: D }, (_, i) => sigmas[K - 1]! * e[b * D + i]!);
  for (let level = K - 1; level >= 0; level--) {
    const share = (level === 0 ? 0 : sigmas[level - 1]!) / sigmas[level]!;
    const clean = point.map((_, j) => denoised(point, level, j));
    point = clean.map((value, i) => value + share * (point[i]! - value));
  }
  samples.push(...point);
}

const float = (values: readonly number[], ...shape: number[]) => ({ dtype: 'float32' as const, shape, data: Float32Array.from(values) });
await writeSafetensors(
  fileURLToPath(new URL('denoiser.safetensors', import.meta.url)),
  {
    'w.weight': float(weight, K, D, D),
    'w.bias': float(bias, K, D),
    x: float(x, B, D),
    e: float(e, B, D),
    k: { dtype: 'int32', shape: [B], data: Int32Array.from(levels) },
    out: float(out, B, D),
    loss: float([loss], 1),
    'grad.weight': float(gradients.weight, K, D, D),
    'grad.bias': float(gradients.bias, K, D),
    samples: float(samples, B, D),
  },
  { config: `dimension=${D};sigmas=[${sigmas.join(', ')}]` },
);
