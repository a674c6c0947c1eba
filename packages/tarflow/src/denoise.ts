import { checkNumber, parseConfig, type Tensor, tf } from '@atelier/tensor';
import { tarflowConfig, type TarFlowSettings } from './config.ts';
import { checkParams, tarflowForward, type TarFlowParams } from './model.ts';
import { negativeLogLikelihood } from './objective.ts';

export type DenoiseOptions = {
  /** σ_n of the noise that the model was trained with. */
  sigma: number;
  /** λ; theory gives 1, the published values are 0.9 to 1.4 (official `self_denoising_lr`). */
  multiplier?: number;
  /** Labels [B] int32, those of sampling. */
  y?: Tensor;
};

/**
 * Takes the training noise out of samples x [B, H, W, C]: x̂ = x + λσ_n²·∇ log p(x) (Tweedie), not clipped.
 *
 * log p of an image is -C·H·W times its loss, so the step is λσ_n²·C·H·W times the gradient of the loss summed over the batch. Images do not influence
 * each other (apple/ml-tarflow evaluate_fid.py:84 multiplies the gradient of the mean by B).
 */
export function denoise(params: TarFlowParams, x: Tensor, settings: TarFlowSettings, { sigma, multiplier = 1, y }: DenoiseOptions): Tensor {
  const config = parseConfig(tarflowConfig, settings, 'denoise');
  checkParams(params, config, 'denoise');
  checkNumber('denoise: sigma', sigma, { min: 0 });
  checkNumber('denoise: multiplier', multiplier);
  return tf.tidy(() => {
    const [, H, W, C] = x.shape as [number, number, number, number];
    const gradient = tf.grad((images: Tensor) => {
      const { z, logDet } = tarflowForward(params, images, config, y);
      return tf.sum(negativeLogLikelihood(z, logDet));
    })(x);
    return tf.sub(x, tf.mul(gradient, multiplier * sigma ** 2 * C * H * W));
  });
}
