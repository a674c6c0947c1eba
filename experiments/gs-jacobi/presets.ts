import type { PartialConfig } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

/** What a preset does not name is as in the full one. */
export const presets = {
  /** Under 60 s: Model A as stored, three samples, no timing. */
  smoke: {
    weights: 'stored',
    metricImages: 256,
    iterations: { batch: 3 },
    strategies: { batch: 3, names: ['jacobi-10', '[top-8-8-10]'] },
    timing: [],
  },
  /** Some minutes: Model A is trained for 1500 steps, and everything that can be decided at this scale is measured. */
  full: {},
  /** Digits of 28 x 28, 49 tokens of 16 values. ATELIER_DATA may name a folder that holds MNIST already. */
  mnist: {
    data: 'mnist',
    network: { patchSize: 4, width: 64 },
    training: { batch: 32, steps: 2000 },
  },
  /** CIFAR-10 at 32 x 32, 64 tokens of 48 values. ATELIER_DATA as above. */
  cifar10: {
    data: 'cifar10',
    network: { patchSize: 4, width: 64 },
    training: { batch: 32, steps: 2000 },
  },
  /**
   * The published network of GS-Jacobi's Img64cond (256 tokens; 817 million parameters with its 1000 classes) for a machine that is up to it. CIFAR-10 in
   * patches of 2 stands in for ImageNet in patches of 4: as many tokens, of 12 values instead of 48.
   */
  paper: {
    data: 'cifar10',
    network: { patchSize: 2, width: 1024, headSize: 64, blocks: 8, layers: 8 },
    training: { batch: 256, steps: 58_600, learningRate: 1e-4, warmUp: 0.0033, sigma: 0.05, watch: 5000 },
    strategies: { batch: 16, names: ['jacobi-20', 'jacobi-30', '[0/7-256/8-1/13-6]'] },
    timing: [],
  },
} as const satisfies Record<string, PartialConfig<Config>>;
