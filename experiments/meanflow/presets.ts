import type { PartialConfig } from '../src/runner/experiment.ts';
import type { Config } from './config.ts';

/** Letters drawn from fonts that come along. */
const letters = {
  data: 'glyphs',
  glyphs: { characters: 'MEANFLOW', faces: ['DejaVuSans-Bold', 'DejaVuSerif-Bold', 'DejaVuSansMono'], rotation: 8, shear: 0.1 },
  drawn: 20_000,
  network: { patchSize: 4 },
  training: { steps: 4000, batch: 32, learningRate: 3e-3, warmUp: 100, decay: 'cosine' },
  classDrop: 0,
  classifier: { steps: 500 },
  samples: 1024,
  watch: 1000,
} as const satisfies PartialConfig<Config['images']>;

/** Steps and sizes by the time that is at hand; what a preset does not name is as in the full one. */
export const presets = {
  /** Under 60 s: the exactly solvable case, and short runs on the checkerboard and on 8 x 8 shapes. */
  smoke: {
    parts: ['gaussian', 'checkerboard', 'images'],
    points: { training: { steps: 800 }, manySteps: 16 },
    images: {
      drawn: 5000,
      network: { depth: 2 },
      training: { steps: 800, batch: 32, learningRate: 4e-3, warmUp: 50, decay: 'cosine' },
      classDrop: 0,
      classifier: { steps: 200 },
      samples: 1024,
      watch: 400,
    },
  },
  /** About a minute and a half, for `atelier tour`: the same letters with fewer steps, and nothing else. */
  tour: { parts: ['images'], images: { ...letters, training: { ...letters.training, steps: 2000 }, classifier: { steps: 300 } } },
  /** What `npm start -- meanflow` runs, under 4 minutes: letters drawn in one step, from fonts that come along. */
  start: {
    parts: ['gaussian', 'checkerboard', 'images'],
    points: { training: { steps: 1500 } },
    images: letters,
  },
  /** 10 to 30 minutes: every claim that two cores can decide. */
  full: {
    points: { repeats: 2, tangents: ['v,0,0', 'v,1,0', 'v,1,1', '0,0,1'] },
    images: {
      guidance: [
        { omega: 2, kappa: 0 },
        { omega: 1, kappa: 0.5 },
      ],
      tangents: ['v,0,0', 'v,1,0', 'v,1,1'],
    },
  },
  /**
   * Real digits in about 40 minutes: a DiT of 1.3 million parameters, on one thread 21 minutes for MeanFlow and 15 for flow matching. ATELIER_DATA may
   * name a folder that holds MNIST already.
   */
  mnist: {
    parts: ['images'],
    images: {
      data: 'mnist',
      network: { patchSize: 4, width: 128, depth: 4, heads: 4 },
      training: { steps: 6000, batch: 32, learningRate: 2.5e-3, warmUp: 200, decay: 'cosine' },
      classifier: { steps: 2000 },
      samples: 2048,
      watch: 1000,
    },
  },
  /**
   * The published recipe for CIFAR-10 (table 3) with its U-Net of 56 million parameters, here with classes: 800,000 steps, for a machine that is up to it. Keys
   * make it smaller, as `images.unet.channels=32 images.training.steps=2000 images.training.batch=64`.
   */
  cifar10: {
    parts: ['images'],
    images: {
      data: 'cifar10',
      unet: {},
      training: {
        steps: 800_000,
        batch: 1024,
        learningRate: 6e-4,
        warmUp: 10_000,
        decay: 'none',
        emaDecay: 0.99995,
        b2: 0.999,
        movingShare: 0.75,
        times: { mean: -2, std: 2 },
        p: 0.75,
        c: 0.001,
      },
      classifier: { steps: 4000 },
      samples: 10_000,
      watch: 5000,
    },
  },
  /**
   * The published setting of table 1 (MeanFlow-B/4, 80 epochs) for a machine that is up to it. The images of CIFAR-10 stand in for ImageNet latents, which are
   * as large (32 x 32) but need the encoder of another model; distances are those of the other presets, not FIDs.
   */
  paper: {
    parts: ['images'],
    images: {
      data: 'cifar10',
      network: { patchSize: 4, width: 768, depth: 12, heads: 12 },
      training: { steps: 400_000, batch: 256, learningRate: 1e-4, emaDecay: 0.9999, movingShare: 0.25 },
      guidance: [
        { omega: 2, kappa: 0 },
        { omega: 1, kappa: 0.5 },
      ],
      tangents: ['v,0,0', 'v,1,0', 'v,1,1'],
      classifier: { steps: 4000 },
      samples: 10_000,
      watch: 5000,
    },
  },
} as const satisfies { smoke: PartialConfig<Config> } & Record<string, PartialConfig<Config>>;
