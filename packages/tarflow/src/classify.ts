import { parseConfig, scan, type Tensor, tf } from '@atelier/tensor';
import { tarflowConfig, type TarFlowSettings } from './config.ts';
import { tarflowForward, type TarFlowParams } from './model.ts';
import { negativeLogLikelihood } from './objective.ts';

/**
 * Bayes' classifier with equal priors: the class under which each image x [B, H, W, C] is likeliest, and the loss of each image under each
 * class [B, N], in nats per dimension (apple/ml-tarflow, MNIST notebook).
 */
export function classify(params: TarFlowParams, x: Tensor, settings: TarFlowSettings): { labels: Tensor; losses: Tensor } {
  const config = parseConfig(tarflowConfig, settings, 'classify');
  if (config.numClasses === 0) throw new Error('classify: wanted a model with classes, got one without');
  const byClass = scan(
    (images: Tensor, label: Tensor) => {
      const y = tf.add(tf.zeros([images.shape[0]!], 'int32'), label);
      const { z, logDet } = tarflowForward(params, images, config, y);
      return { carry: images, collect: negativeLogLikelihood(z, logDet) };
    },
    x,
    tf.range(0, config.numClasses, 1, 'int32') as Tensor,
  ).collected;
  return { labels: tf.argMin(byClass, 0), losses: tf.transpose(byClass) };
}
