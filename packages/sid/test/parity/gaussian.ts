import { tf, valueAndGrad, type Tensor } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import { edmParameterization, fewStepChain, generatorLoss, guidanceScales, type SidNetwork } from '../../src/index.ts';
import { gaussHermite } from '../quadrature.ts';

/** Errors of the files' own float64 derivation, and float32 sums of 25 terms that cancel. */
const close = { rel: 1e-5, max: 1e-5 };

/**
 * A network that is exact for N(mean, variance) in EDM's preconditioning: F = (D - c_skip·x)/c_out with D = mean + variance/(variance + σ²)·(x - mean), undone for
 * the scaled input. `sigmaData` = 1.
 */
export const gaussianNetwork =
  (mean: Tensor | number, variance: Tensor | number): SidNetwork =>
  (scaled, told) => {
    const sigma = tf.reshape(tf.exp(tf.mul(told, 4)), [-1, 1]);
    const total = tf.add(tf.square(sigma), 1);
    const x = tf.mul(scaled, tf.sqrt(total));
    const keep = tf.div(variance, tf.add(tf.square(sigma), variance));
    const denoised = tf.add(mean, tf.mul(keep, tf.sub(x, mean)));
    return tf.div(tf.sub(denoised, tf.div(x, total)), tf.div(sigma, tf.sqrt(total)));
  };

export const gaussianEdm = edmParameterization({ sigmaData: 1 });

/** The closed forms of one dimension: loss and its gradients as exact means over z and ε, and the moments of the teacher's own chain. */
export function gaussianAnalytic(file: GoldenFile): number {
  const input = (key: string): number[] => Array.from(file.host(`in.${key}`).data);
  const [mu, s, b, a, sigma, alpha] = ['mu', 's', 'b', 'a', 'sigma', 'alpha'].map(input) as [
    number[],
    number[],
    number[],
    number[],
    number[],
    number[],
  ];
  const { points, weights } = gaussHermite(5);
  const grid = points.flatMap((z, i) => points.map((e, j) => ({ z, e, weight: weights[i]! * weights[j]! })));
  const column = (f: (at: (typeof grid)[number]) => number): Tensor => tf.tensor(grid.map(f), [grid.length, 1]);
  const results: Record<string, number[]> = { loss: [], grad_b: [], grad_a: [], fisher: [], fisher_grad_b: [], fisher_grad_a: [] };
  mu.forEach((mean, i) => {
    const expectation = (alphaHere: number) =>
      valueAndGrad(
        (p: { a: Tensor; b: Tensor }) => {
          const x = tf.add(
            p.b,
            tf.mul(
              p.a,
              column(({ z }) => z),
            ),
          );
          const nets = { teacher: gaussianNetwork(mean, s[i]! ** 2), fake: gaussianNetwork(b[i]!, a[i]! ** 2) };
          const batch = { x, e: column(({ e }) => e), t: tf.fill([grid.length], sigma[i]!) };
          const options = {
            parameterization: gaussianEdm,
            guidance: guidanceScales.none,
            alpha: alphaHere,
            allowUnstableAlpha: true,
            weighting: 'one',
          } as const;
          const { perElement } = generatorLoss(nets, batch, options);
          return {
            loss: tf.sum(
              tf.mul(
                perElement,
                column(({ weight }) => weight),
              ),
            ),
            aux: {},
          };
        },
        { a: tf.scalar(a[i]!), b: tf.scalar(b[i]!) },
      );
    const own = expectation(alpha[i]!);
    // E L_0 is the Fisher divergence, and its gradient twice that of α = 1/2.
    const [plain, half] = [expectation(0), expectation(0.5)];
    const read = (x: Tensor, factor = 1): number => factor * x.dataSync()[0]!;
    results['loss']!.push(read(own.loss));
    results['grad_b']!.push(read(own.grads.b));
    results['grad_a']!.push(read(own.grads.a));
    results['fisher']!.push(read(plain.loss));
    results['fisher_grad_b']!.push(read(half.grads.b, 2));
    results['fisher_grad_a']!.push(read(half.grads.a, 2));
  });
  for (const [key, ours] of Object.entries(results)) expectClose(ours, file.host(`out.${key}`).data, close, `out.${key}`);

  const chains = file.keys('in.chain_').map((key) => key.slice('in.'.length, -'.sigma'.length));
  for (const name of chains) checkChain(file, name, mu, s);
  return mu.length + chains.length;
}

/** Mean and variance of every output of the exact teacher's chain: it is linear in its noises, so that its parts can be read off. */
function checkChain(file: GoldenFile, name: string, mu: number[], s: number[]): void {
  const levels = Array.from(file.host(`in.${name}.sigma`).data);
  const K = levels.length;
  mu.forEach((mean, i) => {
    // Row 0 has no noise, row k + 1 a noise of 1 in step k alone.
    const noises = levels.map((_, k) =>
      tf.tensor(
        Array.from({ length: K + 1 }, (_, row) => (row === k + 1 ? 1 : 0)),
        [K + 1, 1],
      ),
    );
    const { outputs } = fewStepChain(gaussianNetwork(mean, s[i]! ** 2), noises, { parameterization: gaussianEdm, levels });
    outputs.forEach((x, k) => {
      const [base, ...moved] = x.dataSync();
      const variance = moved.reduce((sum, value) => sum + (value - base!) ** 2, 0);
      expectClose([base!], [file.host(`out.${name}.mean${k + 1}`).data[i]!], close, `out.${name}.mean${k + 1}`);
      expectClose([variance], [file.host(`out.${name}.var${k + 1}`).data[i]!], close, `out.${name}.var${k + 1}`);
    });
  });
}
