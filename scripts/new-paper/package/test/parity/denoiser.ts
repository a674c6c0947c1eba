import { flattenTree, tf, valueAndGrad } from '@atelier/tensor';
import { expectClose, type GoldenFile } from '@atelier/testkit';
import { denoise, denoiserConfig, denoiserFromStateDict, denoisingLoss, samplePoints, type DenoiserParams } from '../../src/index.ts';

const close = { max: 1e-5 };

/** Denoised points, the loss, the gradient of every parameter, and samples. All sizes come from the file. */
export function denoiser(file: GoldenFile): number {
  const settings = denoiserConfig.parse(file.settings('config'));
  const params = denoiserFromStateDict(file.tensors('w.'), settings);
  const [x, e, k] = [file.tensor('x'), file.tensor('e'), file.tensor('k')];
  const sigma = tf.gather(tf.tensor1d(settings.sigmas), k);
  const z = tf.add(x, tf.mul(tf.expandDims(sigma, 1), e));
  expectClose(denoise(params, z, k), file.host('out'), close, 'out');
  const { loss, grads } = valueAndGrad(
    (at: DenoiserParams) => ({ loss: denoisingLoss((points, levels) => denoise(at, points, levels), { x, e, k }, settings), aux: {} }),
    params,
  );
  expectClose(tf.reshape(loss, [1]), file.host('loss'), close, 'loss');
  const gradients = flattenTree(grads);
  const wanted = Object.entries(file.tensors('grad.'));
  for (const [name, gradient] of wanted) expectClose(gradients[name]!, gradient, close, `gradient of ${name}`);
  expectClose(
    samplePoints((points, levels) => denoise(params, points, levels), e, settings),
    file.host('samples'),
    close,
    'samples',
  );
  return wanted.length;
}
