import type { PartialConfig } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

/**
 * Chosen on digits, seed 0, where the Fréchet distance of the teacher in 50 steps is 17.0. Four steps have 29.7 with the rates of points (5e-4 and 2e-4, 250
 * iterations), 15.0 with 2e-4 and 5e-5 (300 iterations), 13.7 with the rates below after 300 iterations and 10.0 after 600.
 */
const distill = { steps: 600, batch: 32, fakeRate: 1e-4, generatorRate: 2e-5 };

const digits: PartialConfig<Config>['images'] = {
  data: 'mnist',
  network: { channels: 16, channelMult: [1, 2, 2], blocks: 1, attentionResolutions: [7] },
  teacher: { steps: 2500, batch: 32 },
  distill,
  classifier: { steps: 1000 },
  samples: 1000,
};

/** Steps and sizes by the time that is at hand; what a preset does not name is as in the full one. */
export const presets = {
  /** Under 60 s: the ring with a small teacher, in one step and in four. */
  smoke: {
    parts: ['points'],
    points: {
      densities: ['ring8'],
      width: 64,
      teacher: { steps: 1500, batch: 256 },
      distill: { steps: 100 },
      steps: [1, 4],
      alphas: [],
      baseline: false,
      unstable: false,
      watch: [50],
      repeats: 1,
      samples: 4096,
    },
  },
  /** 10 to 30 minutes: all that can be decided in the plane, with three seeds. */
  full: {},
  /** Letters drawn from fonts, with classes: a teacher, and students in one, two and four steps, with guidance and with the adversarial term. */
  images: {
    parts: ['images'],
    images: {
      glyphs: { characters: 'SCORE', faces: ['DejaVuSans-Bold', 'DejaVuSerif-Bold', 'DejaVuSansMono'], rotation: 8, shear: 0.1 },
      network: { channels: 24 },
      teacher: { steps: 2000, batch: 32 },
      distill,
      samples: 1000,
    },
  },
  /** The same on real digits, without guidance; an hour or more on two cores, judged from the time of a step. */
  mnist: { parts: ['images'], images: { ...digits, students: ['none', 'none-gan'] } },
  /** Digits in four steps with every kind of guidance; two hours or more. */
  'mnist-guidance': { parts: ['images'], images: { ...digits, steps: [4] } },
  /** The published setting of SiD for CIFAR-10 with classes, for a machine that is up to it: 800 million images. */
  paper: {
    parts: ['images'],
    images: {
      data: 'cifar10',
      network: { channels: 128, channelMult: [2, 2, 2], blocks: 4, attentionResolutions: [16] },
      teacher: { steps: 390_000, batch: 512, learningRate: 1e-3, warmUp: 19_500, decay: 'none', emaDecay: 0.9995 },
      distill: { steps: 3_125_000, batch: 256, fakeRate: 1e-5, generatorRate: 1e-5, halfLife: 500_000 },
      steps: [1],
      students: ['none', 'none-gan'],
      classifier: { steps: 4000 },
      samples: 10_000,
    },
  },
} as const satisfies { smoke: PartialConfig<Config> } & Record<string, PartialConfig<Config>>;
