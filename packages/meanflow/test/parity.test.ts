import { paritySuite } from '@atelier/testkit/vitest';
import { ditForward, ditSample, ditWeights } from './parity/dit.ts';
import { cfgTarget, condDrop, ditLoss, ditLossGradients } from './parity/dit-losses.ts';
import { imfLosses, imfLossGradients, imfScales, imfWeights } from './parity/imf.ts';
import { adaptiveWeights, lossOfTanhMlp } from './parity/losses.ts';
import { timeSamplersJax, timeSamplersPyTorch } from './parity/time-samplers.ts';
import { edmAugment, ema } from './parity/training-data.ts';
import { unetForward, unetLoss, unetOps, unetSample, unetWeights } from './parity/unet.ts';

paritySuite('meanflow', {
  'time-sampler-pt': timeSamplersPyTorch,
  'time-sampler-jax': timeSamplersJax,
  'adaptive-weight': adaptiveWeights,
  'loss-mlp': lossOfTanhMlp,
  ema,
  'edm-augment': edmAugment,
  'dit-weights': ditWeights,
  'dit-forward': ditForward,
  'cfg-target': cfgTarget,
  'cond-drop': condDrop,
  'dit-loss': ditLoss,
  'dit-loss-grads': ditLossGradients,
  'dit-sample': ditSample,
  'imf-cfg-scale': imfScales,
  'imf-weights': imfWeights,
  'imf-loss': imfLosses,
  'imf-loss-grads': imfLossGradients,
  'unet-weights': unetWeights,
  'unet-ops': unetOps,
  'unet-forward': unetForward,
  'unet-loss': { check: unetLoss, slow: 'forward derivative and gradient of a whole U-Net' },
  'unet-sample': unetSample,
});
