import { checkNumber, type Rng } from '@atelier/tensor';

/** Images whose distribution is one Gaussian, so that the best possible denoiser of them is known in closed form. */
export type GaussianField = {
  /** n; an image is [n, n, 1]. */
  readonly side: number;
  /** Covariance of the pixels, rows first: [n², n²] flattened, float64, 1 on the diagonal. It depends on the distance of two pixels alone. */
  readonly covariance: Float64Array;
  /** `count` images, [count, n, n] float32 flattened, of mean 0. Draws from `rng` and leaves it moved on. */
  sample(rng: Rng, count: number): Float32Array;
};

/** Added to the diagonal of the covariance before its root is taken, which rounding might else make negative. */
const RIDGE = 1e-9;
/** Sides of an image that its periodic grid has, so that an image's opposite edges are no neighbours. */
const PERIODS = 4;

/**
 * A Gaussian random field: the covariance is the inverse Fourier transform of S(k) = (|k|² + (4·k₀)²)^(-p) over the integer frequencies of a periodic grid
 * of 4n × 4n pixels, of which an image is n × n.
 *
 * @param options.scale k₀, above 0: waves longer than about n/k₀ are cut off; 1 if absent
 * @param options.power p, above 1: how smooth the images are; 3 if absent
 */
export function gaussianField(side: number, { scale = 1, power = 3 }: { scale?: number; power?: number } = {}): GaussianField {
  checkNumber('gaussianField: side', side, { integer: true, min: 1 });
  checkNumber('gaussianField: scale', scale, { above: 0 });
  checkNumber('gaussianField: power', power, { above: 1 });
  const atLag = correlations(side, scale, power);
  const pixels = side * side;
  const covariance = new Float64Array(pixels * pixels);
  for (let a = 0; a < pixels; a++) {
    for (let b = 0; b < pixels; b++) {
      const rows = Math.abs(Math.floor(a / side) - Math.floor(b / side));
      covariance[a * pixels + b] = atLag[rows * side + Math.abs((a % side) - (b % side))]!;
    }
  }
  const root = choleskyRoot(covariance, pixels);
  return {
    side,
    covariance,
    sample(rng, count) {
      checkNumber('gaussianField.sample: count', count, { integer: true, min: 1 });
      const z = rng.normals(count * pixels);
      const out = new Float32Array(count * pixels);
      for (let image = 0; image < count * pixels; image += pixels) {
        for (let i = 0; i < pixels; i++) {
          let sum = 0;
          for (let j = 0; j <= i; j++) sum += root[i * pixels + j]! * z[image + j]!;
          out[image + i] = sum;
        }
      }
      return out;
    },
  };
}

/** Correlation of two pixels by their distance in rows and columns: [n, n] flattened. */
function correlations(side: number, scale: number, power: number): Float64Array {
  const period = PERIODS * side;
  const frequencies = Array.from({ length: period }, (_, k) => k - period / 2);
  const wave = (k: number, lag: number): number => Math.cos((2 * Math.PI * k * lag) / period);
  // S is even in both frequencies, so the transform is one of cosines, an axis after the other.
  const alongRows = frequencies.map((across) => {
    const spectrum = frequencies.map((down) => (down * down + across * across + (4 * scale) ** 2) ** -power);
    return Array.from({ length: side }, (_, lag) => spectrum.reduce((sum, s, i) => sum + s * wave(frequencies[i]!, lag), 0));
  });
  const out = new Float64Array(side * side);
  for (let rows = 0; rows < side; rows++)
    for (let columns = 0; columns < side; columns++)
      out[rows * side + columns] = frequencies.reduce((sum, across, i) => sum + alongRows[i]![rows]! * wave(across, columns), 0);
  const variance = out[0]!;
  return out.map((value) => value / variance);
}

/** L with L·Lᵀ = covariance + 10⁻⁹·I, lower triangular (Cholesky). */
function choleskyRoot(covariance: Float64Array, n: number): Float64Array {
  const root = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let rest = covariance[i * n + j]! + (i === j ? RIDGE : 0);
      for (let k = 0; k < j; k++) rest -= root[i * n + k]! * root[j * n + k]!;
      root[i * n + j] = i === j ? Math.sqrt(rest) : rest / root[j * n + j]!;
    }
  }
  return root;
}
