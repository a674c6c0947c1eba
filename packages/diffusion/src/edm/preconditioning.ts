import { checkBatch, checkLike, checkNumber, dims, perSample, tf, type Tensor } from '@atelier/tensor';

/** Standard deviation of image data in [-1, 1] that the published networks assume. */
export const SIGMA_DATA = 0.5;

/** A clean-image estimate D(x, σ): x [B, …] = data + σ·ε and σ [B] -> [B, …]. */
export type EdmDenoiser = (x: Tensor, sigma: Tensor) => Tensor;

/** The factors of EDM's preconditioning at noise levels σ [B], each [B] (table 1, arXiv 2206.00364). */
export type EdmCoefficients = {
  /** c_skip = σ_d²/(σ² + σ_d²): how much of x passes the network by. */
  skip: Tensor;
  /** c_out = σ·σ_d/√(σ² + σ_d²): factor of the network's output. */
  out: Tensor;
  /** c_in = 1/√(σ² + σ_d²): makes the network's input of variance 1. */
  in: Tensor;
  /** c_noise = ln(σ)/4: what the network is told. */
  noise: Tensor;
};

/** The four factors of the preconditioning. */
export function edmCoefficients(sigma: Tensor, sigmaData = SIGMA_DATA): EdmCoefficients {
  dims(sigma, 'B', 'edmCoefficients: sigma');
  checkNumber('edmCoefficients: sigmaData', sigmaData, { above: 0 });
  return tf.tidy(() => {
    const total = tf.add(tf.square(sigma), sigmaData ** 2);
    const inverse = tf.rsqrt(total);
    return {
      skip: tf.div(sigmaData ** 2, total),
      out: tf.mul(tf.mul(sigma, inverse), sigmaData),
      in: inverse,
      noise: tf.mul(tf.log(sigma), 0.25),
    };
  });
}

/**
 * The denoiser of a network F: D(x, σ) = c_skip·x + c_out·F(c_in·x, c_noise).
 *
 * @param network F: scaled image [B, …] and ln(σ)/4 [B] -> [B, …]
 */
export function edmDenoiser(network: (x: Tensor, noise: Tensor) => Tensor, sigmaData = SIGMA_DATA): EdmDenoiser {
  return (x, sigma) => {
    checkBatch(x, 'edmDenoiser: x');
    dims(sigma, 'B', 'edmDenoiser: sigma', { B: x.shape[0]! });
    const c = edmCoefficients(sigma, sigmaData);
    const output = network(tf.mul(perSample(c.in, x), x), c.noise);
    checkLike(output, x, 'edmDenoiser: output of the network');
    return edmDenoised(output, x, sigma, sigmaData);
  };
}

/** The clean image c_skip·x + c_out·F that a network's output F [B, …] stands for at x [B, …] and σ [B]. */
export function edmDenoised(output: Tensor, x: Tensor, sigma: Tensor, sigmaData = SIGMA_DATA): Tensor {
  const c = edmCoefficients(sigma, sigmaData);
  return tf.add(tf.mul(perSample(c.skip, x), x), tf.mul(perSample(c.out, x), output));
}

/** Weight of the training loss λ(σ) = (σ² + σ_d²)/(σ·σ_d)² = 1/c_out², [B] -> [B]: the network's own error counts the same at every level. */
export function edmWeight(sigma: Tensor, sigmaData = SIGMA_DATA): Tensor {
  dims(sigma, 'B', 'edmWeight: sigma');
  checkNumber('edmWeight: sigmaData', sigmaData, { above: 0 });
  return tf.tidy(() => tf.div(tf.add(tf.square(sigma), sigmaData ** 2), tf.square(tf.mul(sigma, sigmaData))));
}
