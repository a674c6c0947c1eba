import { checkNumber, type Rng } from '@atelier/tensor';

/** A probability density in the plane that can be sampled and evaluated. */
export type Density = {
  readonly name: string;
  /** n points, [n, 2] float32 flattened. Draws from `rng` and leaves it moved on. */
  sample(rng: Rng, n: number): Float32Array;
  /** log p at points [n, 2] flattened, [n] float64; -Infinity outside the support. */
  logDensity(points: ArrayLike<number>): Float64Array;
};

/**
 * Modes on a circle: mode k of K at radius·(cos 2πk/K, sin 2πk/K), each an isotropic Gaussian, all equally likely.
 *
 * The defaults (8 modes, radius 1.5, standard deviation 0.1) are the ring of the two-dimensional MeanFlow test.
 */
export function ring({ modes = 8, radius = 1.5, std = 0.1 }: { modes?: number; radius?: number; std?: number } = {}): Density {
  checkNumber('ring: modes', modes, { integer: true, min: 1 });
  checkNumber('ring: radius', radius, { above: 0 });
  checkNumber('ring: std', std, { above: 0 });
  const centres = Array.from(
    { length: modes },
    (_, k) => [radius * Math.cos((2 * Math.PI * k) / modes), radius * Math.sin((2 * Math.PI * k) / modes)] as const,
  );
  return {
    name: `ring of ${modes} Gaussians`,
    sample(rng, n) {
      const mode = rng.integers(n, 0, modes);
      const noise = rng.normals(2 * n);
      return noise.map((e, i) => centres[mode[i >> 1]!]![i & 1]! + std * e);
    },
    logDensity: pointwise('ring', (x, y) => logMeanExp(centres.map(([cx, cy]) => logNormal(x - cx, y - cy, std)))),
  };
}

/**
 * The 4 × 4 checkerboard: uniform on the eight dark squares of side `scale`, that is
 * scale·(a, b - 2c + (⌊a⌋ mod 2)) with a ~ U(-2, 2), b ~ U(0, 1), c ~ Bernoulli(½).
 */
export function checkerboard({ scale = 0.75 }: { scale?: number } = {}): Density {
  checkNumber('checkerboard: scale', scale, { above: 0 });
  const parity = (a: number): number => Math.abs(Math.floor(a) % 2);
  const logArea = Math.log(8 * scale * scale);
  return {
    name: '4x4 checkerboard',
    sample(rng, n) {
      const uniform = rng.uniforms(3 * n);
      const points = new Float32Array(2 * n);
      for (let i = 0; i < n; i++) {
        const a = 4 * uniform[3 * i]! - 2;
        const c = uniform[3 * i + 2]! < 0.5 ? 1 : 0;
        points[2 * i] = scale * a;
        points[2 * i + 1] = scale * (uniform[3 * i + 1]! - 2 * c + parity(a));
      }
      return points;
    },
    logDensity: pointwise('checkerboard', (x, y) => {
      const [a, b] = [x / scale, y / scale];
      const inside = a >= -2 && a < 2 && b >= -2 && b < 2 && parity(a) === parity(b);
      return inside ? -logArea : -Infinity;
    }),
  };
}

/** N(mean, std²·I), for which the velocity fields of MeanFlow and flow matching are known in closed form. */
export function gaussian(mean: readonly [number, number], std: number): Density {
  if (mean.length !== 2 || !mean.every(Number.isFinite))
    throw new Error(`gaussian: wanted a mean of two finite numbers, got [${mean.join(', ')}]`);
  checkNumber('gaussian: std', std, { above: 0 });
  return {
    name: `Gaussian(${mean.join(', ')}; ${std})`,
    sample: (rng, n) => rng.normals(2 * n).map((e, i) => mean[i & 1]! + std * e),
    logDensity: pointwise('gaussian', (x, y) => logNormal(x - mean[0], y - mean[1], std)),
  };
}

/** Points along each half circle whose mean approximates the integral over its angle; far finer than any noise that is asked for. */
const MOON_NODES = 512;

/**
 * Two interleaved half circles with Gaussian noise: (cos θ, sin θ) or (1 - cos θ, ½ - sin θ), θ ~ U(0, π), shifted to mean 0.
 *
 * @param std standard deviation of the noise, at least 0.02 (the log density is a midpoint sum over 512 angles).
 */
export function twoMoons({ std = 0.05 }: { std?: number } = {}): Density {
  checkNumber('twoMoons: std', std, { min: 0.02 });
  /** Point at angle θ of the upper (0) or lower (1) moon; the mean of both is (½, ¼). */
  const at = (moon: number, theta: number): readonly [number, number] =>
    moon === 0 ? [Math.cos(theta) - 0.5, Math.sin(theta) - 0.25] : [0.5 - Math.cos(theta), 0.25 - Math.sin(theta)];
  const nodes = Array.from({ length: 2 * MOON_NODES }, (_, k) => at(k & 1, (Math.PI * ((k >> 1) + 0.5)) / MOON_NODES));
  return {
    name: 'two moons',
    sample(rng, n) {
      const uniform = rng.uniforms(2 * n);
      const noise = rng.normals(2 * n);
      for (let i = 0; i < n; i++) {
        const [x, y] = at(uniform[2 * i]! < 0.5 ? 0 : 1, Math.PI * uniform[2 * i + 1]!);
        noise[2 * i] = x + std * noise[2 * i]!;
        noise[2 * i + 1] = y + std * noise[2 * i + 1]!;
      }
      return noise;
    },
    logDensity: pointwise('twoMoons', (x, y) => logMeanExp(nodes.map(([cx, cy]) => logNormal(x - cx, y - cy, std)))),
  };
}

/** log N((dx, dy); 0, std²·I). */
function logNormal(dx: number, dy: number, std: number): number {
  return -(dx * dx + dy * dy) / (2 * std * std) - Math.log(2 * Math.PI * std * std);
}

function logMeanExp(values: readonly number[]): number {
  const top = Math.max(...values);
  return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0) / values.length);
}

function pointwise(where: string, logDensity: (x: number, y: number) => number): Density['logDensity'] {
  return (points) => {
    if (points.length % 2 !== 0) throw new Error(`${where}.logDensity: wanted points [n, 2], got ${points.length} numbers`);
    return Float64Array.from({ length: points.length / 2 }, (_, i) => logDensity(points[2 * i]!, points[2 * i + 1]!));
  };
}
