import type { PartialConfig } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

/** Small networks of VAR and of MVAR with a short training and one seed. */
const small = {
  width: 32,
  depth: 2,
  heads: 2,
  iterations: 80,
  kinds: ['var', 'concat'],
  images: 2048,
  samples: 128,
  repeats: 1,
  windows: [],
  histories: [],
} as const satisfies PartialConfig<Config['figures']>;

/** Steps and sizes for different amounts of time. What a preset does not name is as in `full`. */
export const presets = {
  /** Under 60 s: VAR and MVAR on drawn figures. */
  smoke: { figures: small },
  /** About a minute, for `atelier tour`: the same with more iterations, so that the samples show figures. */
  tour: { figures: { ...small, iterations: 600 } },
  /** VAR, MVAR trained in both ways, other windows and histories, three seeds: all defaults of `config.ts`. */
  full: {},
  /** `full` with one seed. */
  'one-seed': { figures: { repeats: 1 } },
  /** Digits padded to 32 x 32 pixels: a tokenizer is trained, then VAR and MVAR on its tokens. ATELIER_DATA may name a folder that holds MNIST already. */
  mnist: { parts: ['images'], images: { data: 'mnist' } },
  /** Photographs of CIFAR-10. */
  cifar10: { parts: ['images'], images: { data: 'cifar10', tokenizer: { latentChannels: 12, width: 24, steps: 700 } } },
  /**
   * Width and depth of the released MVAR-d16, on images of CIFAR-10, for a much faster machine. It has not been run here. The released tokenizer
   * needs ImageNet.
   */
  paper: {
    parts: ['images'],
    images: {
      data: 'cifar10',
      width: 1024,
      depth: 16,
      heads: 16,
      kinds: ['var', 'mixed'],
      iterations: 330_000,
      mixedIterations: 1_250_000,
      batch: 448,
      learningRate: 1.75e-4,
      codes: 4096,
      repeats: 1,
      tokenizer: {
        latentChannels: 32,
        width: 160,
        multipliers: [1, 1, 2],
        blocks: 2,
        groups: 32,
        plainSteps: 20_000,
        steps: 200_000,
        batch: 64,
        learningRate: 1e-4,
      },
    },
  },
} as const satisfies { smoke: PartialConfig<Config> } & Record<string, PartialConfig<Config>>;
