import { integrateVelocity, sampleMeanFlow, uniformGrid, type AverageVelocity } from '@atelier/meanflow';
import { compile, tf, type Tensor, type Tree } from '@atelier/tensor';

/** How a sample is drawn: by jumps of the average velocity, or by Euler steps of the velocity (h = 0), the only way for flow matching. */
export type Method = 'jumps' | 'euler';

/** Noise and labels that are the same for every network and number of steps: e [N, …shape] flattened, y [N]. */
export type EvaluationNoise = { readonly e: Float32Array; readonly y?: Int32Array; readonly shape: readonly number[] };

/**
 * Samples from all of the noise on the host, in compiled batches.
 *
 * @returns [N, …shape] flattened, t = 0 (data)
 */
export async function drawSamples<P extends Tree>(
  apply: (params: P) => AverageVelocity,
  params: P,
  noise: EvaluationNoise,
  { steps, method, batch, signal }: { steps: number; method: Method; batch: number; signal?: AbortSignal },
): Promise<Float32Array> {
  const grid = uniformGrid(steps);
  const draw = compile(
    (weights: P, input: { e: Tensor; y?: Tensor }) => {
      const options = { grid, ...(input.y && { y: input.y }) };
      const sample = method === 'jumps' ? sampleMeanFlow : integrateVelocity;
      return sample(apply(weights), input.e, options);
    },
    { donate: [1], name: `${method} ${steps}` },
  );
  const size = noise.shape.reduce((a, b) => a * b, 1);
  const total = noise.e.length / size;
  const out = new Float32Array(noise.e.length);
  try {
    for (let from = 0; from < total; from += batch) {
      signal?.throwIfAborted();
      const to = Math.min(total, from + batch);
      const input = {
        e: tf.tensor(noise.e.subarray(from * size, to * size), [to - from, ...noise.shape]),
        ...(noise.y && { y: tf.tensor1d(noise.y.subarray(from, to), 'int32') }),
      };
      const sample = draw(params, input);
      out.set((await sample.data()) as Float32Array, from * size);
      sample.dispose();
    }
  } finally {
    draw.dispose();
  }
  return out;
}
