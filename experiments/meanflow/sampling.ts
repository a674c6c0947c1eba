import { integrateVelocity, uniformGrid } from '@atelier/diffusion';
import { instantaneousVelocity, sampleMeanFlow, type AverageVelocity } from '@atelier/meanflow';
import { compile, type HostTensor, type Tensor, type Tree } from '@atelier/tensor';
import { inBatches } from '../src/evaluation/in-batches.ts';

/** How a sample is drawn: by jumps of the average velocity, or by Euler steps of the velocity (h = 0), the only way for flow matching. */
export type Method = 'jumps' | 'euler';

/** Noise e [N, …] and labels y [N] that are the same for every network and number of steps. */
export type EvaluationNoise = { readonly e: HostTensor; readonly y?: HostTensor };

/**
 * Samples from all of the noise, in compiled batches.
 *
 * @returns [N, …] flattened, t = 0 (data)
 */
export async function drawSamples<P extends Tree>(
  apply: (params: P) => AverageVelocity,
  params: P,
  noise: EvaluationNoise,
  { steps, method, batch, signal }: { steps: number; method: Method; batch: number; signal?: AbortSignal },
): Promise<Float32Array> {
  const grid = uniformGrid(steps);
  const draw = compile(
    (weights: P, { e, y }: { e: Tensor; y?: Tensor }) => {
      const [network, options] = [apply(weights), { grid, ...(y && { y }) }];
      return method === 'jumps' ? sampleMeanFlow(network, e, options) : integrateVelocity(instantaneousVelocity(network), e, options);
    },
    { donate: [1], name: `${method} ${steps}` },
  );
  try {
    const { x } = await inBatches(noise, { batch, signal }, (inputs) => ({ x: draw(params, inputs) }));
    return x.data as Float32Array;
  } finally {
    draw.dispose();
  }
}
